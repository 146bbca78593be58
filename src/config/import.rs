//! Entries of `import` (spec/build.md 1.10).

use super::error::{At, Problem};
use super::field::Field;
use super::model::{Import, ImportTime, UserStage};
use super::paths;

pub(super) fn convert(entry: Field<'_>) -> Result<Import, At> {
    let entry = entry.map()?;
    let source = entry.exactly_one(&["image", "artifact"])?;
    let add = paths::absolute(entry.require("add")?, "add")?;
    let to = entry.get("to").map(|field| paths::absolute(field, "to")).transpose()?;
    Ok(Import {
        source: entry.text_or_empty(source)?,
        stage: entry.get("stage").map(stage).transpose()?,
        when: when(entry)?,
        to: to.unwrap_or_else(|| add.clone()),
        add,
        owner: entry.text_or_empty("owner")?,
        group: entry.text_or_empty("group")?,
        include_paths: paths::patterns(entry, "includePaths")?,
        exclude_paths: paths::patterns(entry, "excludePaths")?,
    })
}

fn when(entry: Field<'_>) -> Result<ImportTime, At> {
    let key = entry.exactly_one(&["before", "after"])?;
    let field = entry.require(key)?;
    match (key, field.text()?.as_str()) {
        ("before", "install") => Ok(ImportTime::BeforeInstall),
        ("before", "setup") => Ok(ImportTime::BeforeSetup),
        ("after", "install") => Ok(ImportTime::AfterInstall),
        ("after", "setup") => Ok(ImportTime::AfterSetup),
        (_, other) => {
            Err(field.wrong(Problem::NotOneOf { key, allowed: &["install", "setup"], found: other.to_owned() }))
        }
    }
}

fn stage(field: Field<'_>) -> Result<UserStage, At> {
    match field.text()?.as_str() {
        "beforeInstall" => Ok(UserStage::BeforeInstall),
        "install" => Ok(UserStage::Install),
        "beforeSetup" => Ok(UserStage::BeforeSetup),
        "setup" => Ok(UserStage::Setup),
        other => Err(field.wrong(Problem::NotOneOf {
            key: "stage",
            allowed: &["beforeInstall", "install", "beforeSetup", "setup"],
            found: other.to_owned(),
        })),
    }
}
