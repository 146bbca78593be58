### TAGGING
echo '### TAGGING'
$Env:WERF_TAG_BY_STAGES_SIGNATURE = "true"
echo '$Env:WERF_TAG_BY_STAGES_SIGNATURE = "true"'

echo ''
### DEPLOY
echo '### DEPLOY'
# $Env:WERF_ENV = ""
echo '# $Env:WERF_ENV = ""'
$Env:WERF_ADD_ANNOTATION_PROJECT_GIT = "project.werf.io/git=https://lab.gitlab-example.com/chat"
echo '$Env:WERF_ADD_ANNOTATION_PROJECT_GIT = "project.werf.io/git=https://lab.gitlab-example.com/chat"'
$Env:WERF_ADD_ANNOTATION_CI_COMMIT = "ci.werf.io/commit=61368705db8652555bd96e68aadfd2ac423ba263"
echo '$Env:WERF_ADD_ANNOTATION_CI_COMMIT = "ci.werf.io/commit=61368705db8652555bd96e68aadfd2ac423ba263"'
$Env:WERF_ADD_ANNOTATION_GITLAB_CI_PIPELINE_URL = "gitlab.ci.werf.io/pipeline-url=https://lab.gitlab-example.com/chat/pipelines/71340"
echo '$Env:WERF_ADD_ANNOTATION_GITLAB_CI_PIPELINE_URL = "gitlab.ci.werf.io/pipeline-url=https://lab.gitlab-example.com/chat/pipelines/71340"'
$Env:WERF_ADD_ANNOTATION_GITLAB_CI_JOB_URL = "gitlab.ci.werf.io/job-url=https://lab.gitlab-example.com/chat/-/jobs/184837"
echo '$Env:WERF_ADD_ANNOTATION_GITLAB_CI_JOB_URL = "gitlab.ci.werf.io/job-url=https://lab.gitlab-example.com/chat/-/jobs/184837"'
