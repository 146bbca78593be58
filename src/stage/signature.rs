//! A stage's identity: one hash over its name, its dependencies and the stage before it (decisions 2.2).

use sha2::{Digest, Sha224, Sha256};

use super::{Commits, Dependencies, StageName};
use crate::ids::{StageSignature, hex};

/// Goes into every hash and into the label `werf-cache-version`: a new encoding makes new stages.
pub const ENCODING: &str = "slipway-1";

/// The stage before: what a signature takes of it. The commits count when the stage is git-aware, so that all that follows
/// depends on the commit a cached stage was built from and not on HEAD (spec/build.md 2.4).
#[derive(Clone, Copy, Debug)]
pub struct Previous<'a> {
    pub name: StageName,
    pub signature: &'a StageSignature,
    pub commits: &'a Commits,
}

/// The signature of a stage.
pub fn stage(name: StageName, dependencies: &Dependencies, previous: Option<Previous<'_>>) -> StageSignature {
    let mut encoding = Encoding::new("stage");
    encoding.text(name.as_str());
    encoding.number(dependencies.0.len());
    for dependency in &dependencies.0 {
        encoding.text(dependency.kind.as_str()).text(&dependency.name).text(&dependency.value);
    }
    encoding.previous(previous);
    encoding.signature()
}

/// The signature of everything a stage holds, with the commits it stands at: what an import of this stage depends on.
pub fn content(stage: Previous<'_>) -> StageSignature {
    let mut encoding = Encoding::new("content");
    encoding.previous(Some(stage));
    encoding.signature()
}

/// The signature of a whole image, by its last stage: the tag of content-based tagging, and what images based on it and
/// imports from it depend on.
pub fn image(last: Previous<'_>) -> StageSignature {
    let mut encoding = Encoding::new("image");
    encoding.previous(Some(last));
    encoding.signature()
}

/// A SHA-256 over texts, for ids that are not signatures; 64 hex digits.
pub fn id(domain: &str, texts: &[&str]) -> String {
    let mut encoding = Encoding::new(domain);
    encoding.number(texts.len());
    for text in texts {
        encoding.text(text);
    }
    hex(&Sha256::digest(&encoding.0))
}

/// Length-prefixed fields: no two different inputs give the same bytes.
struct Encoding(Vec<u8>);

impl Encoding {
    fn new(domain: &str) -> Self {
        let mut encoding = Self(Vec::with_capacity(1024));
        encoding.text(ENCODING).text(domain);
        encoding
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len());
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    fn number(&mut self, number: usize) -> &mut Self {
        self.0.extend_from_slice(&(number as u64).to_be_bytes());
        self
    }

    fn previous(&mut self, previous: Option<Previous<'_>>) {
        let Some(previous) = previous else {
            self.number(0);
            return;
        };
        self.number(1).text(previous.signature.as_str());
        let commits: Vec<_> = previous.commits.iter().filter(|_| previous.name.is_git_aware()).collect();
        self.number(commits.len());
        for (mapping, commit) in commits {
            self.text(mapping).text(commit.as_str());
        }
    }

    fn signature(&self) -> StageSignature {
        match hex(&Sha224::digest(&self.0)).parse() {
            Ok(signature) => signature,
            Err(_) => unreachable!("SHA-224 has 28 bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::DependencyKind;
    use super::*;
    use proptest::prelude::*;

    fn dependencies(list: &[(&str, &str)]) -> Dependencies {
        let mut all = Dependencies::default();
        for (name, value) in list {
            all.add(DependencyKind::Command, *name, *value);
        }
        all
    }

    #[test]
    fn fields_cannot_slide_into_each_other() {
        let a = stage(StageName::Install, &dependencies(&[("1", "ab"), ("2", "c")]), None);
        let b = stage(StageName::Install, &dependencies(&[("1", "a"), ("2", "bc")]), None);
        let c = stage(StageName::Install, &dependencies(&[("1", "ab2c")]), None);
        assert!(a != b && a != c && b != c);
    }

    #[test]
    fn commits_count_only_behind_git_aware_stages() {
        let signature = stage(StageName::From, &Dependencies::default(), None);
        let commits = |digit: &str| Commits::from([("m".to_owned(), digit.repeat(40).parse().unwrap())]);
        let after = |name, commits: &Commits| {
            stage(StageName::Setup, &Dependencies::default(), Some(Previous { name, signature: &signature, commits }))
        };
        assert_ne!(after(StageName::GitArchive, &commits("1")), after(StageName::GitArchive, &commits("2")));
        assert_eq!(
            after(StageName::ImportsAfterInstall, &commits("1")),
            after(StageName::ImportsAfterInstall, &commits("2"))
        );
    }

    #[test]
    fn the_encoding_is_frozen() {
        // A change here makes every user rebuild everything: only together with a new ENCODING.
        let signature = stage(StageName::From, &dependencies(&[("from", "alpine:3.12")]), None);
        assert_eq!(signature.as_str(), "adacf442ffe6dce0b3ab5f50901403556c6f5656a4fca95a28854dd2");
    }

    proptest! {
        #[test]
        fn different_dependencies_have_different_signatures(
            a in proptest::collection::vec(("[ab:]{0,3}", "[ab:]{0,3}"), 0..4),
            b in proptest::collection::vec(("[ab:]{0,3}", "[ab:]{0,3}"), 0..4),
        ) {
            let sign = |list: &[(String, String)]| {
                let list: Vec<(&str, &str)> = list.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                stage(StageName::Install, &dependencies(&list), None)
            };
            prop_assert_eq!(a == b, sign(&a) == sign(&b));
        }
    }
}
