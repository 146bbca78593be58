//! Options of `docker run` that the embedded runtime takes.

use std::path::PathBuf;

use crate::error::Error;
use crate::runtime::{ContainerSpec, Mount, Network, Port};

/// What the options ask for, apart from what to run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    pub detached: bool,
    pub terminal: bool,
    pub entrypoint: Option<String>,
    pub spec: ContainerSpec,
}

/// Reads `-d -p -v -e -w -u --rm --name --entrypoint -i -t` in all of docker's spellings.
///
/// # Errors
/// Any other option; it is named, and docker's runtime is the advice.
pub fn parse(words: &[String]) -> Result<RunOptions, Error> {
    let mut options = RunOptions {
        spec: ContainerSpec { network: Network::Default, ..ContainerSpec::default() },
        ..RunOptions::default()
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) if word.starts_with("--") => (name, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        if let Some(switches) = short_switches(name) {
            for switch in switches.chars() {
                match switch {
                    'd' => options.detached = true,
                    't' => options.terminal = true,
                    _ => {}
                }
            }
            continue;
        }
        match name {
            "--detach" => options.detached = true,
            "--tty" => options.terminal = true,
            "--interactive" | "--rm" => {}
            _ => {
                let value = match value {
                    Some(value) => value,
                    None => {
                        words.next().cloned().ok_or_else(|| Error::usage(format!("the option {name} needs a value")))?
                    }
                };
                valued(&mut options, name, value)?;
            }
        }
    }
    Ok(options)
}

/// `-d`, `-ti`: letters that take no value.
fn short_switches(word: &str) -> Option<&str> {
    let letters = word.strip_prefix('-').filter(|letters| !letters.is_empty() && !letters.starts_with('-'))?;
    letters.chars().all(|letter| "dti".contains(letter)).then_some(letters)
}

fn valued(options: &mut RunOptions, name: &str, value: String) -> Result<(), Error> {
    let spec = &mut options.spec;
    match name {
        "-p" | "--publish" => spec.ports.push(port(&value)?),
        "-v" | "--volume" => spec.mounts.push(mount(&value)?),
        "-e" | "--env" => {
            let (name, value) = value.split_once('=').ok_or_else(|| {
                Error::usage(format!("-e {value}: expected NAME=VALUE"))
                    .hint("variables of this process are not passed on")
            })?;
            spec.env.push((name.to_owned(), value.to_owned()));
        }
        "-w" | "--workdir" => spec.workdir = Some(PathBuf::from(value)),
        "-u" | "--user" => spec.user = Some(value),
        "--name" => spec.name = value,
        "--entrypoint" => options.entrypoint = Some(value),
        // Containers of the embedded runtime share the host's network anyway; other restart policies are a daemon's work.
        "--network" | "--net" if value == "host" => {}
        "--restart" if value == "no" => {}
        other => {
            return Err(Error::usage(format!("the embedded runtime does not know the option {other} of docker run"))
                .hint("it knows -d, -p, -v, -e, -w, -u, --rm, --name, --entrypoint, -i and -t")
                .hint("SLIPWAY_RUNTIME=docker takes every option"));
        }
    }
    Ok(())
}

/// `8080:80`, `8080:80/tcp`, `8080`.
fn port(text: &str) -> Result<Port, Error> {
    let bad = || Error::usage(format!("-p {text}: expected HOST:CONTAINER, two port numbers"));
    let (host, container) = text.trim_end_matches("/tcp").split_once(':').unwrap_or((text, text));
    Ok(Port { host: host.parse().map_err(|_| bad())?, container: container.parse().map_err(|_| bad())? })
}

/// `/host:/container`, `/host:/container:ro`.
fn mount(text: &str) -> Result<Mount, Error> {
    let bad = |reason| Error::usage(format!("-v {text}: {reason}"));
    let mut parts = text.split(':');
    let (source, target) = match (parts.next(), parts.next()) {
        (Some(source), Some(target)) if source.starts_with('/') && target.starts_with('/') => (source, target),
        _ => return Err(bad("expected two absolute paths, /HOST:/CONTAINER; there are no named volumes")),
    };
    let read_only = match parts.next() {
        None | Some("rw") => false,
        Some("ro") => true,
        Some(_) => return Err(bad("the mode is `ro` or `rw`")),
    };
    Ok(Mount { source: source.into(), target: target.into(), read_only })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<RunOptions, String> {
        parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).map_err(|error| error.to_string())
    }

    #[test]
    fn spellings_of_docker_are_read() {
        let options = words(
            "-d --rm -p 8080:80 --env=A=b=c -e B=2 -v /x:/y:ro --name web -w /app -u 1000:1000 --entrypoint /bin/sh",
        )
        .unwrap();
        assert!(options.detached && !options.terminal);
        assert_eq!(options.spec.ports, [Port { host: 8080, container: 80 }]);
        assert_eq!(options.spec.env, [("A".into(), "b=c".into()), ("B".into(), "2".into())]);
        assert!(options.spec.mounts[0].read_only);
        assert_eq!(options.spec.name, "web");
        assert_eq!(options.entrypoint.as_deref(), Some("/bin/sh"));
        assert!(words("-ti --rm").unwrap().terminal);
    }

    #[test]
    fn what_is_not_known_is_named() {
        assert_eq!(
            words("--gpus all").unwrap_err(),
            "the embedded runtime does not know the option --gpus of docker run"
        );
        assert_eq!(
            words("--restart=always").unwrap_err(),
            "the embedded runtime does not know the option --restart of docker run"
        );
        assert_eq!(words("-p x:80").unwrap_err(), "-p x:80: expected HOST:CONTAINER, two port numbers");
        assert_eq!(
            words("-v data:/x").unwrap_err(),
            "-v data:/x: expected two absolute paths, /HOST:/CONTAINER; there are no named volumes"
        );
        assert_eq!(words("--name").unwrap_err(), "the option --name needs a value");
        assert_eq!(words("-e HOME").unwrap_err(), "-e HOME: expected NAME=VALUE");
    }
}
