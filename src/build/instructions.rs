//! The `docker` section as a change of an image's configuration. Pure (spec/build.md 1.12, 2.10).

use serde_json::json;

use crate::config::{Command, Docker};
use crate::error::Error;
use crate::runtime::ImageChange;

/// What the instructions change.
///
/// # Errors
/// A `HEALTHCHECK` that a Dockerfile would not take either.
pub fn change(docker: &Docker) -> Result<ImageChange, Error> {
    let entrypoint = docker.entrypoint.as_ref().map(words);
    // An entrypoint of one's own must not get the base's command as arguments.
    let cmd = docker.cmd.as_ref().map(words).or(entrypoint.as_ref().map(|_| Vec::new()));
    Ok(ImageChange {
        labels: docker.label.clone(),
        env: docker.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        volumes: docker.volume.iter().cloned().collect(),
        expose: docker.expose.iter().flat_map(|ports| ports.split_whitespace()).map(str::to_owned).collect(),
        entrypoint,
        cmd,
        workdir: docker.workdir.clone(),
        user: docker.user.clone(),
        healthcheck: docker.healthcheck.as_deref().map(healthcheck).transpose()?,
    })
}

/// A string goes through the shell unless it is itself a JSON list, as in a Dockerfile.
fn words(command: &Command) -> Vec<String> {
    match command {
        Command::Exec(words) => words.clone(),
        Command::Shell(text) => {
            serde_json::from_str(text).unwrap_or_else(|_| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.clone()])
        }
    }
}

/// `NONE`, or options and `CMD command`, as the `Healthcheck` object with times in nanoseconds.
fn healthcheck(text: &str) -> Result<serde_json::Value, Error> {
    let invalid = |reason: String| {
        Error::user(format!("docker.HEALTHCHECK `{text}`: {reason}"))
            .hint("write it as in a Dockerfile: `--interval=30s --timeout=5s CMD curl -f http://localhost/`, or `NONE`")
    };
    let mut object = serde_json::Map::new();
    let mut rest = text.trim();
    while let Some(option) = rest.strip_prefix("--") {
        let (option, tail) =
            option.split_once(char::is_whitespace).ok_or_else(|| invalid("no CMD after the options".into()))?;
        let (name, value) = option.split_once('=').ok_or_else(|| invalid(format!("`--{option}` has no value")))?;
        let (key, value) = match name {
            "interval" | "timeout" | "start-period" => {
                let nanoseconds = go_duration(value).ok_or_else(|| invalid(format!("`{value}` is not a duration")))?;
                let key = match name {
                    "interval" => "Interval",
                    "timeout" => "Timeout",
                    _ => "StartPeriod",
                };
                (key, json!(nanoseconds))
            }
            "retries" => {
                let count: u32 = value.parse().map_err(|_| invalid(format!("`{value}` is not a number of retries")))?;
                ("Retries", json!(count))
            }
            name => return Err(invalid(format!("unknown option `--{name}`"))),
        };
        object.insert(key.to_owned(), value);
        rest = tail.trim_start();
    }
    let test = match rest.split_once(char::is_whitespace) {
        None if rest == "NONE" => vec!["NONE".to_owned()],
        Some(("CMD", command)) => match serde_json::from_str::<Vec<String>>(command.trim()) {
            Ok(words) => [vec!["CMD".to_owned()], words].concat(),
            Err(_) => vec!["CMD-SHELL".to_owned(), command.trim().to_owned()],
        },
        _ => return Err(invalid("expected `CMD` with a command, or `NONE`".into())),
    };
    object.insert("Test".to_owned(), json!(test));
    Ok(object.into())
}

/// Nanoseconds of a Go duration like `1m30s` or `500ms`.
fn go_duration(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0f64;
    if rest == "0" {
        return Some(0);
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the check")]
    (total > 0.0 && total < 9e18).then_some(total as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entrypoint_alone_drops_the_command_of_the_base() {
        let docker = Docker { entrypoint: Some(Command::Exec(vec!["/app".into()])), ..Docker::default() };
        assert_eq!(change(&docker).unwrap().cmd, Some(vec![]));
    }

    #[test]
    fn commands_are_read_as_in_a_dockerfile() {
        assert_eq!(words(&Command::Shell("echo $HOME".into())), ["/bin/sh", "-c", "echo $HOME"]);
        assert_eq!(words(&Command::Shell(r#"["a", "b c"]"#.into())), ["a", "b c"]);
    }

    #[test]
    fn healthcheck_options() {
        let object = healthcheck("--interval=1m30s --retries=3 CMD curl -f localhost").unwrap();
        assert_eq!(
            object.to_string(),
            r#"{"Interval":90000000000,"Retries":3,"Test":["CMD-SHELL","curl -f localhost"]}"#
        );
        assert_eq!(healthcheck("NONE").unwrap().to_string(), r#"{"Test":["NONE"]}"#);
        assert_eq!(healthcheck(r#"CMD ["a","b"]"#).unwrap().to_string(), r#"{"Test":["CMD","a","b"]}"#);
    }

    #[test]
    fn a_wrong_healthcheck_is_explained() {
        for (text, expected) in [
            ("curl", "docker.HEALTHCHECK `curl`: expected `CMD` with a command, or `NONE`"),
            ("--interval=5 CMD x", "docker.HEALTHCHECK `--interval=5 CMD x`: `5` is not a duration"),
            ("--every=5s CMD x", "docker.HEALTHCHECK `--every=5s CMD x`: unknown option `--every`"),
            ("--retries=x", "docker.HEALTHCHECK `--retries=x`: no CMD after the options"),
        ] {
            assert_eq!(healthcheck(text).unwrap_err().to_string(), expected);
        }
    }
}
