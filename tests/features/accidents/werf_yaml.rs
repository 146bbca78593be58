//! One of each kind of mistake, through `build`; the others are in the corpus.

use super::{error_of, exists};
use crate::support::build_project::BuildProject;

#[test]
fn mistakes_are_told_with_their_place_and_nothing_is_built() {
    let Some(project) = BuildProject::embedded() else { return };
    let bomb: String = std::iter::once("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned())
        .chain(
            (1..8).map(|level| format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(","))),
        )
        .collect();
    let cases = [
        ("image: app\nfrom: {{ fail \"not like this\" }}\n", "werf.yaml:5:10", "error calling fail: not like this"),
        (
            "{{ define \"a\" }}{{ include \"a\" . }}{{ end }}{{ include \"a\" . }}\n",
            "werf.yaml:4:20",
            "templates call each other more than 1000 levels deep",
        ),
        (&bomb, "werf.yaml:", "more than 1000000 values, counting what aliases repeat"),
        (
            "image: app\nfrom: BASE\nfrom: other\n",
            "werf.yaml:6:1",
            "key `from` is given twice; it first stands at line 5, column 1",
        ),
        ("image: app\nform: BASE\n", "werf.yaml:5:1", "unknown field `form`"),
        ("image: app\n\tfrom: BASE\n", "werf.yaml:", "found a tab"),
    ];
    for (text, place, message) in cases {
        project.commit_yaml(text);
        let output = project.failed_build([]);
        let error = error_of(&output);
        assert_eq!(output.code, 1, "{error}");
        assert!(error.contains(message) && error.contains(&format!("\n --> {place}")), "{text}{error}");
        assert!(error.len() < 3000, "{error}");
    }
    assert!(!exists(project.state().join("embedded/names").join(format!("werf-stages-storage%2F{}", project.name))));
    project.commit_yaml("image: app\nfrom: BASE\n");
    project.build();
}
