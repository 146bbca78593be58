//! What werf.yaml sees beyond the common functions: `.Files.Get` and `.Files.Glob` (spec/build.md 1.2).

use std::cell::RefCell;
use std::rc::Rc;

use regex::Regex;

use crate::file_tree::FileTree;

use super::value::{Object, Value};

/// What went not quite right on the way, for the caller to show; each once, in order.
#[derive(Default)]
pub struct Warnings(RefCell<Vec<String>>);

impl Warnings {
    /// Takes what has been collected.
    pub fn take(&self) -> Vec<String> {
        self.0.take()
    }

    fn add(&self, warning: String) {
        let mut warnings = self.0.borrow_mut();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
}

/// The root data of werf.yaml: a mutable map with the key `Files`, over the project's files.
pub fn root_data(files: Rc<FileTree<'static>>, warnings: Rc<Warnings>) -> Value {
    [("Files", Value::object(Rc::new(Files { files, warnings })))].into_iter().collect()
}

/// The value behind `.Files`.
struct Files {
    files: Rc<FileTree<'static>>,
    warnings: Rc<Warnings>,
}

impl Object for Files {
    fn call(&self, method: &str, args: &[Value]) -> Option<Result<Value, String>> {
        match method {
            "Get" => Some(one_text("Get", args).and_then(|path| self.get(path))),
            "Glob" => Some(one_text("Glob", args).and_then(|pattern| self.glob(pattern))),
            _ => None,
        }
    }

    fn type_name(&self) -> &str {
        "config.files"
    }
}

fn one_text<'a>(method: &str, args: &'a [Value]) -> Result<&'a str, String> {
    match args {
        [Value::Str(text)] => Ok(text),
        [other] => Err(format!("`.Files.{method}` takes a path as text, not {}", other.type_name())),
        _ => Err(format!("`.Files.{method}` takes one argument, got {}", args.len())),
    }
}

impl Files {
    /// The content of a file; "" and a warning when there is none.
    fn get(&self, path: &str) -> Result<Value, String> {
        let inside = within(path)?;
        let content = match self.files.read(&inside) {
            Ok(Some(content)) => String::from_utf8_lossy(&content).into_owned(),
            Ok(None) => {
                self.warnings.add(format!(
                    "`.Files.Get \"{path}\"`: there is no such file in the project, an empty text is used"
                ));
                String::new()
            }
            Err(error) => {
                self.warnings
                    .add(format!("`.Files.Get \"{path}\"`: cannot read the file ({error}), an empty text is used"));
                String::new()
            }
        };
        Ok(Value::from(content))
    }

    /// A map from path to content; nil and a warning when nothing matches.
    fn glob(&self, pattern: &str) -> Result<Value, String> {
        let inside = within(pattern)?;
        let Some(expression) = doublestar(&inside) else {
            self.warnings.add(format!("`.Files.Glob \"{pattern}\"`: the pattern is malformed, it matches nothing"));
            return Ok(Value::Nil);
        };
        match self.matching(&expression, &inside) {
            Ok(found) if found.is_empty() => {
                self.warnings.add(format!("`.Files.Glob \"{pattern}\"`: no file of the project matches"));
                Ok(Value::Nil)
            }
            Ok(found) => Ok(found.into_iter().collect()),
            Err(error) => {
                self.warnings
                    .add(format!("`.Files.Glob \"{pattern}\"`: cannot read the files ({error}), it gives nothing"));
                Ok(Value::Nil)
            }
        }
    }

    fn matching(&self, expression: &Regex, pattern: &str) -> std::io::Result<Vec<(String, Value)>> {
        let mut found = Vec::new();
        for path in self.files.list(fixed_directory(pattern))? {
            if expression.is_match(&path)
                && let Some(content) = self.files.read(&path)?
            {
                found.push((path, Value::from(String::from_utf8_lossy(&content).into_owned())));
            }
        }
        Ok(found)
    }
}

/// `path` from the root of the project, without `.`, `..` and a leading slash.
///
/// # Errors
/// A path that leaves the project.
fn within(path: &str) -> Result<String, String> {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                if names.pop().is_none() {
                    return Err(format!("the path `{path}` leaves the project directory"));
                }
            }
            name => names.push(name),
        }
    }
    Ok(names.join("/"))
}

/// The directory in front of the first name with a pattern in it.
fn fixed_directory(pattern: &str) -> &str {
    let fixed = pattern.find(['*', '?', '[', '{', '\\']).and_then(|end| pattern.get(..end)).unwrap_or(pattern);
    fixed.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// A doublestar pattern as an expression over whole paths; `None` when it is malformed. `**` as a whole name stands for
/// any number of directories, `*` and `?` stay within a name, `[…]` is a class, `{a,b}` a choice.
fn doublestar(pattern: &str) -> Option<Regex> {
    let mut out = String::from("(?s)^");
    let mut names = pattern.split('/').peekable();
    while let Some(name) = names.next() {
        let last = names.peek().is_none();
        match name {
            "**" if last => out.push_str(".*"),
            "**" => out.push_str("(?:[^/]+/)*"),
            name => {
                name_pattern(name, &mut out)?;
                if !last {
                    out.push('/');
                }
            }
        }
    }
    out.push('$');
    Regex::new(&out).ok()
}

fn name_pattern(name: &str, out: &mut String) -> Option<()> {
    let mut choices = 0usize;
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '\\' => out.push_str(&regex::escape(chars.next()?.encode_utf8(&mut [0; 4]))),
            '[' => class_pattern(&mut chars, out)?,
            '{' => {
                choices += 1;
                out.push_str("(?:");
            }
            ',' if choices > 0 => out.push('|'),
            '}' if choices > 0 => {
                choices -= 1;
                out.push(')');
            }
            c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    (choices == 0).then_some(())
}

/// `[abc]`, `[a-z]`, `[^a]`, `[!a]`.
fn class_pattern(chars: &mut std::str::Chars<'_>, out: &mut String) -> Option<()> {
    out.push('[');
    let mut first = true;
    loop {
        match chars.next()? {
            '^' | '!' if first => out.push_str("^/"),
            ']' if !first => break,
            '-' => out.push('-'),
            '\\' => out.push_str(&regex::escape(chars.next()?.encode_utf8(&mut [0; 4]))),
            c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
        first = false;
    }
    out.push(']');
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{Functions, Limits, Set};
    use std::collections::BTreeMap;

    fn render(text: &str) -> (Result<String, String>, Vec<String>) {
        let files = FileTree::from_files([
            ("a.txt", "A"),
            ("conf/x.yaml", "X"),
            ("conf/deep/er/y.yaml", "Y"),
            ("conf/deep/z.txt", "Z"),
            ("conf/[b].yaml", "B"),
        ]);
        let warnings = Rc::new(Warnings::default());
        let mut set = Set::new(Functions::standard(BTreeMap::new()), Limits::default());
        let result = set
            .parse("werf.yaml", text)
            .and_then(|()| set.execute("werf.yaml", &root_data(Rc::new(files), Rc::clone(&warnings))));
        (result.map_err(|error| error.to_string()), warnings.take())
    }

    #[test]
    fn files_are_read_by_path() {
        for (text, expected) in [
            (r#"{{ .Files.Get "a.txt" }}"#, "A"),
            (r#"{{ .Files.Get "/a.txt" }}"#, "A"),
            (r#"{{ .Files.Get "conf/../a.txt" }}"#, "A"),
            (r#"{{ "a.txt" | .Files.Get }}"#, "A"),
            (r#"{{ $f := .Files }}{{ $f.Get "conf/x.yaml" | lower }}"#, "x"),
        ] {
            assert_eq!(render(text), (Ok(expected.to_owned()), vec![]), "{text}");
        }
    }

    #[test]
    fn globs_match_as_doublestar_does() {
        for (pattern, expected) in [
            ("conf/*.yaml", "conf/[b].yaml conf/x.yaml"),
            ("conf/**/*.yaml", "conf/[b].yaml conf/deep/er/y.yaml conf/x.yaml"),
            ("**/*.txt", "a.txt conf/deep/z.txt"),
            ("conf/**", "conf/[b].yaml conf/deep/er/y.yaml conf/deep/z.txt conf/x.yaml"),
            ("/conf/?.yaml", "conf/x.yaml"),
            ("conf/{x,q}.yaml", "conf/x.yaml"),
            ("conf/[w-y].yaml", "conf/x.yaml"),
            ("conf/[!a-w].yaml", "conf/x.yaml"),
            ("conf/\\[b\\].yaml", "conf/[b].yaml"),
        ] {
            let text = format!("{{{{ range $path, $_ := .Files.Glob `{pattern}` }}}} {{{{ $path }}}}{{{{ end }}}}");
            let (result, warnings) = render(&text);
            assert_eq!((result.as_deref().map(str::trim), warnings), (Ok(expected), vec![]), "{pattern}");
        }
    }

    #[test]
    fn a_missing_file_is_empty_and_warned_of_once() {
        let (result, warnings) =
            render(r#"[{{ .Files.Get "no" }}{{ .Files.Get "no" }}{{ .Files.Glob "no/*" }}{{ .Files.Glob "a[" }}]"#);
        assert_eq!(result.as_deref(), Ok("[<no value><no value>]"));
        insta::assert_snapshot!(warnings.join("\n"), @r#"
        `.Files.Get "no"`: there is no such file in the project, an empty text is used
        `.Files.Glob "no/*"`: no file of the project matches
        `.Files.Glob "a["`: the pattern is malformed, it matches nothing
        "#);
    }

    /// Hostile input 33.
    #[test]
    fn no_path_leaves_the_project() {
        let errors: Vec<String> = [
            r#"{{ .Files.Get "../../etc/passwd" }}"#,
            r#"{{ .Files.Get "/conf/../../etc/passwd" }}"#,
            r#"{{ .Files.Glob "../*" }}"#,
            r#"{{ .Files.Get 1 }}"#,
            r#"{{ .Files.Get }}"#,
            r#"{{ .Files.Nope "x" }}"#,
        ]
        .into_iter()
        .map(|text| render(text).0.unwrap_err())
        .collect();
        insta::assert_snapshot!(errors.join("\n"), @r#"
        template: werf.yaml:1:9: executing "werf.yaml" at <.Files.Get>: error calling Get: the path `../../etc/passwd` leaves the project directory
        template: werf.yaml:1:9: executing "werf.yaml" at <.Files.Get>: error calling Get: the path `/conf/../../etc/passwd` leaves the project directory
        template: werf.yaml:1:9: executing "werf.yaml" at <.Files.Glob>: error calling Glob: the path `../*` leaves the project directory
        template: werf.yaml:1:9: executing "werf.yaml" at <.Files.Get>: error calling Get: `.Files.Get` takes a path as text, not int
        template: werf.yaml:1:9: executing "werf.yaml" at <.Files.Get>: error calling Get: `.Files.Get` takes one argument, got 0
        template: werf.yaml:1:9: executing "werf.yaml" at <.Files.Nope>: can't evaluate field Nope in type interface {}
        "#);
    }
}
