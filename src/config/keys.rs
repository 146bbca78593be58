//! Every key that a werf.yaml may have, and what becomes of the others (spec/build.md 1.3 to 1.14).

use crate::yaml::Node;

use super::error::UnknownField;

/// Which keys a value may have.
pub(super) enum Keys {
    /// Whatever is in it is the user's own.
    Any,
    Map(&'static [(&'static str, Keys)]),
    /// A list of such values.
    Each(&'static Keys),
}

use Keys::{Any, Each, Map};

pub(super) const META: Keys = Map(&[
    ("configVersion", Any),
    ("project", Any),
    ("deploy", Map(&[("helmRelease", Any), ("helmReleaseSlug", Any), ("namespace", Any), ("namespaceSlug", Any)])),
    ("cleanup", Map(&[("keepPolicies", Each(&KEEP_POLICY))])),
]);

const KEEP_POLICY: Keys =
    Map(&[("references", Map(&[("tag", Any), ("branch", Any), ("limit", LIMIT)])), ("imagesPerReference", LIMIT)]);

const LIMIT: Keys = Map(&[("last", Any), ("in", Any), ("operator", Any)]);

pub(super) const STAPEL: Keys = Map(&[
    ("image", Any),
    ("artifact", Any),
    ("from", Any),
    ("fromImage", Any),
    ("fromImageArtifact", Any),
    ("fromLatest", Any),
    ("herebyIAdmitThatFromLatestMightBreakReproducibility", Any),
    ("fromCacheVersion", Any),
    ("git", Each(&GIT)),
    ("shell", BUILDER),
    ("ansible", BUILDER),
    ("mount", Each(&Map(&[("to", Any), ("from", Any), ("fromPath", Any)]))),
    ("import", Each(&IMPORT)),
    ("docker", DOCKER),
    ("asLayers", Any),
]);

const GIT: Keys = Map(&[
    ("url", Any),
    ("branch", Any),
    ("tag", Any),
    ("commit", Any),
    ("herebyIAdmitThatBranchMightBreakReproducibility", Any),
    ("add", Any),
    ("to", Any),
    ("owner", Any),
    ("group", Any),
    ("includePaths", Any),
    ("excludePaths", Any),
    ("stageDependencies", Map(&[("install", Any), ("beforeSetup", Any), ("setup", Any)])),
]);

const BUILDER: Keys = Map(&[
    ("beforeInstall", Any),
    ("install", Any),
    ("beforeSetup", Any),
    ("setup", Any),
    ("cacheVersion", Any),
    ("beforeInstallCacheVersion", Any),
    ("installCacheVersion", Any),
    ("beforeSetupCacheVersion", Any),
    ("setupCacheVersion", Any),
]);

const IMPORT: Keys = Map(&[
    ("image", Any),
    ("artifact", Any),
    ("before", Any),
    ("after", Any),
    ("stage", Any),
    ("add", Any),
    ("to", Any),
    ("owner", Any),
    ("group", Any),
    ("includePaths", Any),
    ("excludePaths", Any),
]);

const DOCKER: Keys = Map(&[
    ("VOLUME", Any),
    ("EXPOSE", Any),
    ("ENV", Any),
    ("LABEL", Any),
    ("CMD", Any),
    ("ENTRYPOINT", Any),
    ("WORKDIR", Any),
    ("USER", Any),
    ("HEALTHCHECK", Any),
]);

pub(super) const DOCKERFILE: Keys = Map(&[
    ("image", Any),
    ("dockerfile", Any),
    ("context", Any),
    ("target", Any),
    ("args", Any),
    ("addHost", Any),
    ("network", Any),
    ("ssh", Any),
]);

/// Keys that later versions know, with what to write instead.
const LATER: [(&str, &str); 17] = [
    ("fromArtifact", "werf 1.1 calls it `fromImageArtifact`"),
    ("dependencies", "it came with werf 1.2"),
    ("staged", "it came with werf 1.2"),
    ("contextAddFile", "it came with werf 1.2; files of the work tree are in the context anyway"),
    ("contextAddFiles", "it came with werf 1.2; files of the work tree are in the context anyway"),
    ("secrets", "it came with werf 2"),
    ("platform", "it came with werf 1.2"),
    ("final", "it came with werf 2"),
    ("imageSpec", "it came with werf 2"),
    ("disableGitAfterPatch", "it came with werf 2"),
    ("gitWorktree", "in werf 1.1 use the flags --git-unshallow and --allow-git-shallow-clone"),
    ("build", "it came with werf 2"),
    ("images", "it came with werf 2"),
    ("helmChartDir", "it came with werf 1.2; use the flag --helm-chart-dir"),
    ("exactValues", "it came with werf 1.2; quote values with blanks by hand"),
    ("ONBUILD", "werf 1.1 has no such instruction"),
    ("MAINTAINER", "use `LABEL: {maintainer: …}`"),
];

/// Every key of a section, at any depth, that is not in the table; in order.
pub(super) fn unknown(section: Node<'_>, keys: &Keys) -> Vec<UnknownField> {
    let mut found = Vec::new();
    collect(section, keys, &mut found);
    found
}

fn collect(node: Node<'_>, keys: &Keys, found: &mut Vec<UnknownField>) {
    match keys {
        Any => {}
        Each(keys) => node.items().for_each(|item| collect(item, keys, found)),
        Map(known) => {
            for (key, value) in node.entries() {
                let name = key.text().unwrap_or_default();
                match known.iter().find(|(known, _)| *known == name) {
                    Some((_, keys)) => collect(value, keys, found),
                    None if found.len() >= 50 => return,
                    None => {
                        found.push(UnknownField { name: name.to_owned(), at: key.spans.start, hint: hint(name, known) })
                    }
                }
            }
        }
    }
}

fn hint(name: &str, known: &[(&str, Keys)]) -> Option<String> {
    if let Some((_, note)) = LATER.iter().find(|(later, _)| *later == name) {
        return Some(format!("`{name}`: {note}"));
    }
    if name.chars().count() > 60 || name.chars().any(char::is_control) {
        return None;
    }
    let near = known.iter().map(|(known, _)| (distance(name, known), *known)).min()?;
    (near.0 <= 1 + near.1.len() / 4).then(|| format!("did you mean `{}` instead of `{name}`?", near.1))
}

/// How many letters must be added, dropped or changed (case counts for nothing) to come from one word to another.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().flat_map(char::to_lowercase).collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.chars().flat_map(char::to_lowercase).enumerate() {
        let mut next = vec![index + 1];
        for ((other, pair), &above) in to.iter().zip(row.windows(2)).zip(row.iter().skip(1)) {
            let diagonal = pair.first().copied().unwrap_or(0) + usize::from(letter != *other);
            let left = next.last().copied().unwrap_or(0) + 1;
            next.push(diagonal.min(left).min(above + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_changed_letters() {
        for (from, to, expected) in
            [("instal", "install", 1), ("FROM", "from", 0), ("shel", "shell", 1), ("gti", "git", 2), ("", "add", 3)]
        {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }
}
