//! `slugify`.

use crate::support::program::Program;

#[test]
fn prints_a_name_for_what_it_is_wanted() {
    for (format, expected) in [
        ("r", "my-branch-8ebf2d1d\n"),
        ("helm-release", "my-branch-8ebf2d1d\n"),
        ("ns", "my-branch-8ebf2d1d\n"),
        ("kubernetes-namespace", "my-branch-8ebf2d1d\n"),
        ("tag", "My_branch\n"),
        ("docker-tag", "My_branch\n"),
    ] {
        assert_eq!(Program::new(["slugify", "My_branch", "-f", format]).stdout(), expected);
    }
    assert_eq!(Program::new(["slugify", "-f", "tag", "--", "-data"]).stdout(), "data-a871d86e\n");
}

#[test]
fn says_what_is_missing() {
    for (args, expected) in [
        (
            &["slugify", "x"][..],
            "Error: --format FORMAT argument required\n\
             hint: add `-f helm-release`, `-f kubernetes-namespace` or `-f docker-tag`\n",
        ),
        (
            &["slugify", "x", "-f", "image"],
            "Error: unknown format 'image'\nhint: use `helm-release`, `kubernetes-namespace` or `docker-tag`\n",
        ),
        (&["slugify", "-f", "tag", "x", "y"], "Error: accepts 1 position argument, received 2\n"),
    ] {
        let output = Program::new(args.iter().copied()).run();
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (2, "", expected));
    }
}
