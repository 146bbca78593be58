//! The `shell` section, and what it shares with `ansible` (spec/build.md 1.8).

use std::collections::BTreeMap;

use super::error::At;
use super::field::Field;
use super::model::{CacheVersions, Shell, UserStage};

pub(super) fn convert(section: Field<'_>) -> Result<Shell, At> {
    let section = section.map()?;
    let mut commands = BTreeMap::new();
    for (stage, key, _) in STAGES {
        let of_stage = section.texts_or_empty(key)?;
        if of_stage.iter().any(|command| !command.is_empty()) {
            commands.insert(stage, of_stage);
        }
    }
    Ok(Shell { commands, cache_versions: cache_versions(section)? })
}

/// The keys of a user stage: its instructions, its salt.
pub(super) const STAGES: [(UserStage, &str, &str); 4] = [
    (UserStage::BeforeInstall, "beforeInstall", "beforeInstallCacheVersion"),
    (UserStage::Install, "install", "installCacheVersion"),
    (UserStage::BeforeSetup, "beforeSetup", "beforeSetupCacheVersion"),
    (UserStage::Setup, "setup", "setupCacheVersion"),
];

pub(super) fn cache_versions(section: Field<'_>) -> Result<CacheVersions, At> {
    let mut by_stage = BTreeMap::new();
    for (stage, _, key) in STAGES {
        let version = section.text_or_empty(key)?;
        if !version.is_empty() {
            by_stage.insert(stage, version);
        }
    }
    Ok(CacheVersions { all: section.text_or_empty("cacheVersion")?, by_stage })
}
