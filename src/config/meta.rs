//! The meta section (spec/build.md 1.4, spec/publish-and-cleanup.md 7.6.1).

use regex::Regex;

use super::error::{At, Problem};
use super::field::Field;
use super::model::{Deploy, KeepPolicy, Limit, Meta, Operator, ReferencePattern, References};
use crate::{duration, slug};

pub(super) fn convert(section: Field<'_>) -> Result<Meta, At> {
    let version = section.require("configVersion")?;
    if version.integer().ok() != Some(1) {
        let text = version.node.text().unwrap_or_default();
        let found = if version.node.value.is_string() { format!("the text `{text}`") } else { format!("`{text}`") };
        return Err(version.wrong(Problem::Version { found }));
    }
    Ok(Meta { project: project(section)?, deploy: deploy(section)?, keep_policies: keep_policies(section)? })
}

fn project(section: Field<'_>) -> Result<String, At> {
    let field = section.require("project")?;
    let name = field.text()?;
    if name.is_empty() {
        return Err(field.wrong(Problem::Empty { key: "project" }));
    }
    if slug::is_project(&name) { Ok(name) } else { Err(field.wrong(Problem::ProjectName { name })) }
}

fn deploy(section: Field<'_>) -> Result<Deploy, At> {
    let Some(field) = section.get("deploy") else {
        return Ok(Deploy::default());
    };
    let deploy = field.map()?;
    let switch = |key| deploy.get(key).map(Field::boolean).transpose();
    Ok(Deploy {
        helm_release: not_empty(deploy, "helmRelease")?,
        helm_release_slug: switch("helmReleaseSlug")?,
        namespace: not_empty(deploy, "namespace")?,
        namespace_slug: switch("namespaceSlug")?,
    })
}

fn not_empty(section: Field<'_>, key: &'static str) -> Result<Option<String>, At> {
    let Some(field) = section.get(key) else {
        return Ok(None);
    };
    let text = field.text()?;
    if text.is_empty() { Err(field.wrong(Problem::Empty { key })) } else { Ok(Some(text)) }
}

/// An empty list is as good as none: the built-in policies apply.
fn keep_policies(section: Field<'_>) -> Result<Option<Vec<KeepPolicy>>, At> {
    let Some(cleanup) = section.get("cleanup") else {
        return Ok(None);
    };
    let policies = cleanup.map()?.items("keepPolicies")?.into_iter().map(keep_policy).collect::<Result<Vec<_>, _>>()?;
    Ok((!policies.is_empty()).then_some(policies))
}

fn keep_policy(policy: Field<'_>) -> Result<KeepPolicy, At> {
    let references = policy.map()?.require("references")?.map()?;
    let pattern = match references.exactly_one(&["tag", "branch"])? {
        "tag" => ReferencePattern::Tag(pattern(references.require("tag")?)?),
        _ => ReferencePattern::Branch(pattern(references.require("branch")?)?),
    };
    Ok(KeepPolicy {
        references: References { pattern, limit: limit(references.get("limit"))? },
        images_per_reference: limit(policy.get("imagesPerReference"))?,
    })
}

/// Between slashes a regular expression as it is; anything else literally and as a whole.
fn pattern(field: Field<'_>) -> Result<String, At> {
    let value = field.text()?;
    let inner = value.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
    let expression = inner.map_or_else(|| format!("^{}$", regex::escape(&value)), str::to_owned);
    match Regex::new(&expression) {
        Ok(_) => Ok(expression),
        Err(error) => {
            let reason = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Err(field.wrong(Problem::Regex { value, reason }))
        }
    }
}

fn limit(field: Option<Field<'_>>) -> Result<Limit, At> {
    let Some(field) = field else {
        return Ok(Limit::default());
    };
    let limit = field.map()?;
    let last = limit.get("last").map(Field::integer).transpose()?;
    let within = match limit.get("in") {
        Some(field) => {
            let value = field.text()?;
            Some(duration::parse(&value).ok_or_else(|| field.wrong(Problem::Duration { value }))?)
        }
        None => None,
    };
    let operator = match limit.get("operator") {
        Some(field) => Some(operator(field)?),
        None => (last.is_some() && within.is_some()).then_some(Operator::And),
    };
    Ok(Limit { last, within, operator })
}

fn operator(field: Field<'_>) -> Result<Operator, At> {
    match field.text()?.as_str() {
        "And" => Ok(Operator::And),
        "Or" => Ok(Operator::Or),
        other => {
            Err(field.wrong(Problem::NotOneOf { key: "operator", allowed: &["And", "Or"], found: other.to_owned() }))
        }
    }
}
