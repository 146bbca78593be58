//! The steps in which the runner hands a job to the `run` hook (spec/executor.md 2.7).

/// Who wrote the script of a sub-stage. A name that is not known is a value like any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubStage {
    /// `build_script` (`step_script`), `after_script` and whatever else the author of the job wrote.
    Script(String),
    /// What the runner made itself: sources, caches, artifacts.
    Helper(String),
}

impl SubStage {
    pub fn parse(name: &str) -> Self {
        let by_author = name.starts_with("step_") || name.ends_with("_script");
        if by_author && name != "prepare_script" { Self::Script(name.into()) } else { Self::Helper(name.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authors_scripts_are_told_from_the_runners() {
        for name in ["build_script", "step_script", "step_release", "step_x", "after_script"] {
            assert_eq!(SubStage::parse(name), SubStage::Script(name.into()));
        }
        for name in ["prepare_script", "clear_worktree", "get_sources", "archive_cache_on_failure", "foo", ""] {
            assert_eq!(SubStage::parse(name), SubStage::Helper(name.into()));
        }
    }
}
