### DOCKER CONFIG
export DOCKER_CONFIG="/tmp/werf-docker-config-832705503"

### STAGES_STORAGE
export WERF_STAGES_STORAGE="docker.pkg.github.com/acme/shop/stages"

### IMAGES REPO
export WERF_IMAGES_REPO="docker.pkg.github.com/acme/shop/shop"

### TAGGING
export WERF_TAG_BY_STAGES_SIGNATURE="true"

### DEPLOY
export WERF_ADD_ANNOTATION_PROJECT_GIT="project.werf.io/git=https://github.com/Acme/Shop"
export WERF_ADD_ANNOTATION_CI_COMMIT="ci.werf.io/commit=61368705db8652555bd96e68aadfd2ac423ba263"
export WERF_ADD_ANNOTATION_GITHUB_ACTIONS_RUN_URL="github.ci.werf.io/workflow-run-url=https://github.com/Acme/Shop/actions/runs/7"

### CLEANUP
export WERF_REPO_GITHUB_TOKEN="ghp_secret"

### IMAGE CLEANUP POLICIES
export WERF_GIT_TAG_STRATEGY_LIMIT="10"
export WERF_GIT_TAG_STRATEGY_EXPIRY_DAYS="30"
export WERF_GIT_COMMIT_STRATEGY_LIMIT="50"
export WERF_GIT_COMMIT_STRATEGY_EXPIRY_DAYS="30"
export WERF_STAGES_SIGNATURE_STRATEGY_LIMIT="-1"
export WERF_STAGES_SIGNATURE_STRATEGY_EXPIRY_DAYS="-1"

### OTHER
export WERF_GIT_HISTORY_SYNCHRONIZATION="1"
export WERF_LOG_COLOR_MODE="on"
export WERF_LOG_PROJECT_DIR="1"
export WERF_ENABLE_PROCESS_EXTERMINATOR="1"
export WERF_LOG_TERMINAL_WIDTH="95"
