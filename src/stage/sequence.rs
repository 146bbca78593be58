//! Which stages an image can have (spec/build.md 2.2). Whether one is empty today is decided when its facts are known.

use super::StageName;
use crate::config::{Builder, CacheVersions, Image, ImportTime, StapelImage, UserStage};

/// The stages of an image, in order.
pub fn sequence(image: &Image) -> Vec<StageName> {
    match image {
        Image::Stapel(image) => stapel(image),
        Image::Dockerfile(_) => vec![StageName::Dockerfile],
    }
}

fn stapel(image: &StapelImage) -> Vec<StageName> {
    use StageName::*;
    let git = !image.git.is_empty();
    let imports = |time: ImportTime| image.imports.iter().any(|import| import.when == time);
    [
        (From, true),
        (BeforeInstall, has_user_stage(&image.builder, UserStage::BeforeInstall)),
        (ImportsBeforeInstall, imports(ImportTime::BeforeInstall)),
        (GitArchive, git),
        (Install, has_user_stage(&image.builder, UserStage::Install)),
        (ImportsAfterInstall, imports(ImportTime::AfterInstall)),
        (BeforeSetup, has_user_stage(&image.builder, UserStage::BeforeSetup)),
        (ImportsBeforeSetup, imports(ImportTime::BeforeSetup)),
        (Setup, has_user_stage(&image.builder, UserStage::Setup)),
        (ImportsAfterSetup, imports(ImportTime::AfterSetup)),
        (GitCache, git && !image.artifact),
        (GitLatestPatch, git && !image.artifact),
        (DockerInstructions, image.docker.is_some()),
    ]
    .into_iter()
    .filter_map(|(stage, exists)| exists.then_some(stage))
    .collect()
}

/// A user stage exists when it has commands or tasks, or any cache version that concerns it: the one for all stages alone
/// makes all four exist.
fn has_user_stage(builder: &Builder, stage: UserStage) -> bool {
    let salted = |versions: &CacheVersions| {
        !versions.all.is_empty() || versions.by_stage.get(&stage).is_some_and(|version| !version.is_empty())
    };
    match builder {
        Builder::None => false,
        Builder::Shell(shell) => {
            shell.commands.get(&stage).is_some_and(|commands| !commands.is_empty()) || salted(&shell.cache_versions)
        }
        Builder::Ansible(ansible) => {
            ansible.tasks.get(&stage).is_some_and(|tasks| !tasks.is_empty()) || salted(&ansible.cache_versions)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Base, GitMapping, Shell, StageDependencies};

    fn image(artifact: bool) -> StapelImage {
        StapelImage {
            name: "app".into(),
            artifact,
            from: Base::Registry("debian:12".into()),
            from_latest: false,
            from_cache_version: String::new(),
            git: vec![],
            builder: Builder::None,
            mounts: vec![],
            imports: vec![],
            docker: None,
            as_layers: false,
        }
    }

    fn with_git(mut image: StapelImage) -> StapelImage {
        image.git.push(GitMapping {
            remote: None,
            add: String::new(),
            to: "/app".into(),
            owner: String::new(),
            group: String::new(),
            include_paths: vec![],
            exclude_paths: vec![],
            stage_dependencies: StageDependencies::default(),
        });
        image
    }

    #[test]
    fn only_a_base_is_one_stage() {
        assert_eq!(sequence(&Image::Stapel(image(false))), [StageName::From]);
    }

    #[test]
    fn artifacts_never_follow_the_sources() {
        use StageName::*;
        assert_eq!(sequence(&Image::Stapel(with_git(image(true)))), [From, GitArchive]);
        assert_eq!(sequence(&Image::Stapel(with_git(image(false)))), [From, GitArchive, GitCache, GitLatestPatch]);
    }

    #[test]
    fn a_cache_version_for_all_makes_all_user_stages() {
        use StageName::*;
        let mut image = image(false);
        image.builder = Builder::Shell(Shell {
            commands: [].into(),
            cache_versions: CacheVersions { all: "1".into(), by_stage: [].into() },
        });
        assert_eq!(sequence(&Image::Stapel(image)), [From, BeforeInstall, Install, BeforeSetup, Setup]);
    }
}
