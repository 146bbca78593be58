//! The six limits of the cleanup by policy, and the file in which a user changes them (spec/publish-and-cleanup.md 1.8).

use serde::Deserialize;

use super::{Block, BlockOf, Variables};

/// Limits per tagging strategy; -1 means no limit. The file is `cleanup.yaml` in the user's werf home; a key that is
/// not there keeps its default.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Policies {
    pub git_tag_strategy_limit: i64,
    pub git_tag_strategy_expiry_days: i64,
    pub git_commit_strategy_limit: i64,
    pub git_commit_strategy_expiry_days: i64,
    pub stages_signature_strategy_limit: i64,
    pub stages_signature_strategy_expiry_days: i64,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            git_tag_strategy_limit: 10,
            git_tag_strategy_expiry_days: 30,
            git_commit_strategy_limit: 50,
            git_commit_strategy_expiry_days: 30,
            stages_signature_strategy_limit: -1,
            stages_signature_strategy_expiry_days: -1,
        }
    }
}

pub(super) fn block(variables: &Variables, policies: &Policies) -> Block {
    BlockOf::new(variables, "IMAGE CLEANUP POLICIES")
        .add("WERF_GIT_TAG_STRATEGY_LIMIT", policies.git_tag_strategy_limit.to_string())
        .add("WERF_GIT_TAG_STRATEGY_EXPIRY_DAYS", policies.git_tag_strategy_expiry_days.to_string())
        .add("WERF_GIT_COMMIT_STRATEGY_LIMIT", policies.git_commit_strategy_limit.to_string())
        .add("WERF_GIT_COMMIT_STRATEGY_EXPIRY_DAYS", policies.git_commit_strategy_expiry_days.to_string())
        .add("WERF_STAGES_SIGNATURE_STRATEGY_LIMIT", policies.stages_signature_strategy_limit.to_string())
        .add("WERF_STAGES_SIGNATURE_STRATEGY_EXPIRY_DAYS", policies.stages_signature_strategy_expiry_days.to_string())
        .done()
}
