//! Which paths of a repository a git mapping takes (spec/build.md 1.7).

/// The path rules of one mapping, relative to the repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathFilter {
    /// `add` without the leading slash; `""` is the root.
    pub base: String,
    pub include: Vec<String>,
    pub exclude: Vec<String>,
}
