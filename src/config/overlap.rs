//! Git mappings and imports of one image that reach into each other's destinations (spec/build.md 1.9).

use std::collections::HashSet;

use super::error::Problem;
use super::model::{GitMapping, Import, StapelImage};

/// Lets every destination that lies in another one be excluded there; two claims on one path are a problem.
pub(super) fn resolve(image: &mut StapelImage) -> Result<(), Problem> {
    let mut exporters: Vec<Exporter> = image.git.iter().map(Exporter::mapping).collect();
    exporters.extend(image.imports.iter().map(Exporter::import));
    if exporters.iter().map(|exporter| exporter.include.len().max(1)).sum::<usize>() > LIMIT {
        return Err(Problem::TooManyDestinations { limit: LIMIT });
    }
    for index in 0..exporters.len() {
        let (before, rest) = exporters.split_at_mut(index);
        let Some((current, _)) = rest.split_first_mut() else { break };
        for earlier in before {
            make_room(earlier, current)?;
            make_room(current, earlier)?;
        }
    }
    let excludes = exporters.into_iter().map(|exporter| exporter.exclude);
    let owners = image.git.iter_mut().map(|mapping| &mut mapping.exclude_paths);
    let owners = owners.chain(image.imports.iter_mut().map(|import| &mut import.exclude_paths));
    owners.zip(excludes).for_each(|(owner, exclude)| *owner = exclude);
    Ok(())
}

/// Every pair is compared.
const LIMIT: usize = 1000;

/// What puts files into an image.
struct Exporter {
    /// How the user knows it.
    name: String,
    to: String,
    include: Vec<String>,
    exclude: Vec<String>,
}

impl Exporter {
    fn mapping(mapping: &GitMapping) -> Self {
        let from = match &mapping.remote {
            Some(remote) => format!("git mapping of `{}`", remote.name),
            None => format!("git mapping `/{}`", mapping.add),
        };
        let (include, exclude) = (mapping.include_paths.clone(), mapping.exclude_paths.clone());
        Self { name: from, to: mapping.to.clone(), include, exclude }
    }

    fn import(import: &Import) -> Self {
        let (include, exclude) = (import.include_paths.clone(), import.exclude_paths.clone());
        let name = format!("import of `{}` from `{}`", import.add, import.source);
        Self { name, to: import.to.clone(), include, exclude }
    }

    /// The paths of the image it claims: its includes under `to`, or `to` as a whole.
    fn claims(&self) -> Vec<String> {
        if self.include.is_empty() {
            return vec![self.to.clone()];
        }
        self.include.iter().map(|include| under(&self.to, include)).collect()
    }
}

/// Excludes from `outer` what `inner` puts below it.
fn make_room(outer: &mut Exporter, inner: &Exporter) -> Result<(), Problem> {
    if !contains(&outer.to, &inner.to) {
        return Ok(());
    }
    let own = outer.claims();
    let mut excluded: HashSet<String> = outer.exclude.iter().map(|exclude| under(&outer.to, exclude)).collect();
    for claim in inner.claims() {
        if own.contains(&claim) {
            let (left, right) = (outer.name.clone(), inner.name.clone());
            return Err(Problem::Overlap { left, right, path: claim });
        }
        let is_excluded = ancestors(&claim).any(|path| excluded.contains(path));
        let includes_more_exactly = own.iter().any(|path| contains(&claim, path));
        if !is_excluded && !includes_more_exactly {
            outer.exclude.extend(relative(&outer.to, &claim));
            excluded.insert(claim);
        }
    }
    Ok(())
}

fn under(directory: &str, path: &str) -> String {
    format!("{}/{}", directory.trim_end_matches('/'), path.trim_end_matches('/'))
}

/// A path and every directory above it but the root.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.char_indices().skip(1).filter(|(_, c)| *c == '/').map(|(index, _)| index);
    ends.chain([path.len()]).filter_map(|end| path.get(..end))
}

/// Whether `path` is `directory` or lies in it.
fn contains(directory: &str, path: &str) -> bool {
    path == directory || relative(directory, path).is_some()
}

/// `path` as seen from a directory above it.
fn relative(directory: &str, path: &str) -> Option<String> {
    let rest = path.strip_prefix(directory.trim_end_matches('/'))?.strip_prefix('/')?;
    (!rest.is_empty()).then(|| rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exporter(to: &str, include: &[&str], exclude: &[&str]) -> Exporter {
        let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        Exporter { name: to.to_owned(), to: to.to_owned(), include: owned(include), exclude: owned(exclude) }
    }

    /// The excludes that the outer one ends with, or the path in conflict.
    fn room(mut outer: Exporter, inner: Exporter) -> Result<Vec<String>, String> {
        match make_room(&mut outer, &inner) {
            Ok(()) => Ok(outer.exclude),
            Err(Problem::Overlap { path, .. }) => Err(path),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_nested_destination_is_excluded_from_the_outer_one() {
        let nested = |include: &[&str], exclude: &[&str], inner: &[&str]| {
            room(exporter("/app", include, exclude), exporter("/app/vendor", inner, &[]))
        };
        assert_eq!(nested(&[], &[], &[]).unwrap(), ["vendor"]);
        assert_eq!(nested(&[], &[], &["a", "b"]).unwrap(), ["vendor/a", "vendor/b"]);
        assert_eq!(nested(&[], &["vendor"], &[]).unwrap(), ["vendor"]);
        assert_eq!(nested(&["vendor/deep"], &[], &[]).unwrap(), [""; 0]);
        assert_eq!(nested(&["vendor"], &[], &[]).unwrap_err(), "/app/vendor");
        assert_eq!(nested(&["src"], &[], &[]).unwrap(), ["vendor"]);
    }

    #[test]
    fn one_destination_needs_different_includes() {
        let same = |left: &[&str], right: &[&str]| room(exporter("/app", left, &[]), exporter("/app", right, &[]));
        assert_eq!(same(&[], &[]).unwrap_err(), "/app");
        assert_eq!(same(&["a"], &["a"]).unwrap_err(), "/app/a");
        assert_eq!(same(&["a"], &["b"]).unwrap(), ["b"]);
        assert_eq!(same(&[], &["b"]).unwrap(), ["b"]);
        assert_eq!(same(&["b"], &[]).unwrap(), [""; 0]);
    }

    #[test]
    fn the_root_contains_everything_and_names_are_compared_as_a_whole() {
        assert_eq!(room(exporter("/", &[], &[]), exporter("/app", &[], &[])).unwrap(), ["app"]);
        assert_eq!(room(exporter("/app", &[], &[]), exporter("/application", &[], &[])).unwrap(), [""; 0]);
    }
}
