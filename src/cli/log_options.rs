//! Flags, variables and the terminal → the form of the log (spec/build.md 6.3).

use crate::error::Error;
use crate::sys::env::Env;
use crate::ui::{DEFAULT_WIDTH, Level, Mask, UiOptions};

use super::flags::LogFlags;

/// Columns of the terminal on stderr, where the log goes; `None` when it is no terminal.
pub fn terminal_columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok()?;
    Some(if size.ws_col == 0 { DEFAULT_WIDTH } else { usize::from(size.ws_col) })
}

/// A flag wins over its variable. `terminal` is what [`terminal_columns`] says.
pub fn ui_options(flags: &LogFlags, env: &Env, terminal: Option<usize>) -> Result<UiOptions, Error> {
    let in_ci = env.get("GITLAB_CI") == Some("true") || env.is_on("CI");
    Ok(UiOptions {
        level: level(flags, env),
        pretty: flags.log_pretty.unwrap_or(!env.is_off("WERF_LOG_PRETTY")),
        colour: colour(flags, env, terminal.is_some())?,
        width: width(flags, env, terminal)?,
        gitlab_sections: env.get("GITLAB_CI") == Some("true"),
        terminal: terminal.is_some() && !in_ci,
    })
}

/// Registers what CI systems and werf's variables are known to keep secret, so that no line of the log shows it.
pub fn mask_known_secrets(mask: &Mask, env: &Env) {
    for (name, value) in env.all() {
        if name.to_str().is_some_and(is_secret) {
            mask.add(value.as_encoded_bytes());
        }
    }
}

fn is_secret(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "CI_BUILD_TOKEN",
        "CI_DEPENDENCY_PROXY_PASSWORD",
        "CI_DEPLOY_PASSWORD",
        "CI_JOB_JWT",
        "CI_JOB_JWT_V2",
        "CI_JOB_TOKEN",
        "CI_REGISTRY_PASSWORD",
        "GITHUB_TOKEN",
        "WERF_SECRET_KEY",
    ];
    let of_werf = name.starts_with("WERF_") && (name.ends_with("_PASSWORD") || name.ends_with("_TOKEN"));
    of_werf || NAMES.contains(&name)
}

/// Quiet wins over debug, debug over verbose.
fn level(flags: &LogFlags, env: &Env) -> Level {
    let is_on = |flag: Option<bool>, names: [&str; 2]| flag.unwrap_or_else(|| names.iter().any(|name| env.is_on(name)));
    if is_on(flags.log_quiet, ["WERF_LOG_QUIET", "WERF_QUIET"]) {
        Level::Quiet
    } else if is_on(flags.log_debug, ["WERF_LOG_DEBUG", "WERF_DEBUG"]) {
        Level::Debug
    } else if is_on(flags.log_verbose, ["WERF_LOG_VERBOSE", "WERF_VERBOSE"]) {
        Level::Verbose
    } else {
        Level::Normal
    }
}

fn colour(flags: &LogFlags, env: &Env, on_terminal: bool) -> Result<bool, Error> {
    let (mode, source) = match (&flags.log_color_mode, env.get("WERF_LOG_COLOR_MODE")) {
        (Some(mode), _) => (mode.as_str(), "--log-color-mode"),
        (None, Some(mode)) => (mode, "WERF_LOG_COLOR_MODE"),
        (None, None) => ("auto", ""),
    };
    match mode {
        "on" => Ok(true),
        "off" => Ok(false),
        "auto" => Ok(on_terminal && env.get("NO_COLOR").is_none() && env.get("TERM") != Some("dumb")),
        _ => Err(Error::usage(format!("bad value `{mode}` of {source}: expected `auto`, `on` or `off`"))),
    }
}

fn width(flags: &LogFlags, env: &Env, terminal: Option<usize>) -> Result<usize, Error> {
    const FLAG: &str = "--log-terminal-width";
    const VARIABLE: &str = "WERF_LOG_TERMINAL_WIDTH";
    let (columns, source) = match (flags.log_terminal_width, env.get(VARIABLE)) {
        (Some(columns), _) if columns != -1 => (columns, FLAG),
        (_, Some(text)) => (text.parse().map_err(|_| bad_width(text, VARIABLE))?, VARIABLE),
        (_, None) => (-1, FLAG),
    };
    match columns {
        -1 => Ok(terminal.unwrap_or(DEFAULT_WIDTH)),
        _ => usize::try_from(columns).map_err(|_| bad_width(&columns.to_string(), source)),
    }
}

fn bad_width(text: &str, source: &str) -> Error {
    Error::usage(format!(
        "bad value `{text}` of {source}: expected a number of columns, or -1 for the terminal's width"
    ))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        log: LogFlags,
    }

    type Arguments = &'static [&'static str];
    type Variables = &'static [(&'static str, &'static str)];

    fn options(arguments: &[&str], variables: &[(&str, &str)], terminal: Option<usize>) -> Result<UiOptions, String> {
        let line = Line::try_parse_from([&["slipway"], arguments].concat()).map_err(|error| error.to_string())?;
        let env = Env::literal(variables.iter().copied(), "/");
        ui_options(&line.log, &env, terminal).map_err(|error| error.to_string())
    }

    #[test]
    fn levels() {
        let table: [(Arguments, Variables, Level); 10] = [
            (&[], &[], Level::Normal),
            (&["--log-verbose"], &[], Level::Verbose),
            (&["--verbose", "--debug"], &[], Level::Debug),
            (&["--debug", "--quiet"], &[], Level::Quiet),
            (&[], &[("WERF_LOG_DEBUG", "1")], Level::Debug),
            (&[], &[("WERF_VERBOSE", "yes")], Level::Verbose),
            (&[], &[("WERF_QUIET", "true")], Level::Quiet),
            (&[], &[("WERF_LOG_QUIET", "on")], Level::Normal),
            (&["--log-quiet=false"], &[("WERF_LOG_QUIET", "1")], Level::Normal),
            (&["--log-debug=0"], &[("WERF_LOG_DEBUG", "1"), ("WERF_LOG_VERBOSE", "1")], Level::Verbose),
        ];
        for (arguments, variables, level) in table {
            assert_eq!(options(arguments, variables, None).unwrap().level, level, "{arguments:?} {variables:?}");
        }
    }

    #[test]
    fn colours() {
        let table: [(Arguments, Variables, Option<usize>, bool); 8] = [
            (&[], &[], None, false),
            (&[], &[], Some(80), true),
            (&[], &[("NO_COLOR", "1")], Some(80), false),
            (&[], &[("TERM", "dumb")], Some(80), false),
            (&[], &[("WERF_LOG_COLOR_MODE", "on"), ("NO_COLOR", "1")], None, true),
            (&["--log-color-mode=on"], &[("WERF_LOG_COLOR_MODE", "off")], None, true),
            (&["--log-color-mode", "off"], &[], Some(80), false),
            (&["--log-color-mode", "auto"], &[("WERF_LOG_COLOR_MODE", "on")], None, false),
        ];
        for (arguments, variables, terminal, colour) in table {
            let options = options(arguments, variables, terminal).unwrap();
            assert_eq!(options.colour, colour, "{arguments:?} {variables:?} {terminal:?}");
        }
    }

    #[test]
    fn widths() {
        let table: [(Arguments, Variables, Option<usize>, usize); 7] = [
            (&[], &[], None, 140),
            (&[], &[], Some(95), 95),
            (&["--log-terminal-width=78"], &[], Some(95), 78),
            (&["--log-terminal-width", "-1"], &[], Some(95), 95),
            (&[], &[("WERF_LOG_TERMINAL_WIDTH", "95")], None, 95),
            (&["--log-terminal-width=-1"], &[("WERF_LOG_TERMINAL_WIDTH", "95")], Some(80), 95),
            (&["--log-terminal-width=78"], &[("WERF_LOG_TERMINAL_WIDTH", "95")], None, 78),
        ];
        for (arguments, variables, terminal, width) in table {
            assert_eq!(options(arguments, variables, terminal).unwrap().width, width, "{arguments:?} {variables:?}");
        }
    }

    #[test]
    fn ci_and_terminal() {
        let gitlab = options(&[], &[("GITLAB_CI", "true"), ("CI", "true")], Some(80)).unwrap();
        assert!(gitlab.gitlab_sections && !gitlab.terminal && gitlab.pretty);
        let other_ci = options(&[], &[("CI", "true")], Some(80)).unwrap();
        assert!(!other_ci.gitlab_sections && !other_ci.terminal);
        let terminal = options(&["--log-pretty=false"], &[], Some(80)).unwrap();
        assert!(!terminal.gitlab_sections && terminal.terminal && !terminal.pretty);
        assert!(!options(&[], &[("WERF_LOG_PRETTY", "no")], None).unwrap().pretty);
        assert!(options(&["--log-pretty"], &[("WERF_LOG_PRETTY", "no")], None).unwrap().pretty);
    }

    #[test]
    fn variables_known_to_be_secret_are_masked() {
        let mask = Mask::default();
        let variables = [
            ("CI_JOB_TOKEN", "token-of-job"),
            ("WERF_REPO_QUAY_TOKEN", "token-of-quay"),
            ("WERF_REPO_HARBOR_PASSWORD", "password"),
            ("CI_COMMIT_REF_NAME", "branch-name"),
            ("CI_REGISTRY_PASSWORD", ""),
        ];
        mask_known_secrets(&mask, &Env::literal(variables, "/"));
        let text = "token-of-job token-of-quay password branch-name";
        assert_eq!(mask.text(text), "[MASKED] [MASKED] [MASKED] branch-name");
    }

    #[test]
    fn bad_values_name_their_place() {
        let texts = [
            options(&["--log-color-mode=blue"], &[], None),
            options(&[], &[("WERF_LOG_COLOR_MODE", "1")], None),
            options(&["--log-terminal-width=-2"], &[], None),
            options(&[], &[("WERF_LOG_TERMINAL_WIDTH", "-7")], None),
            options(&[], &[("WERF_LOG_TERMINAL_WIDTH", "wide")], None),
            options(&["--log-quiet=maybe"], &[], None),
        ]
        .map(|result| result.unwrap_err());
        insta::assert_snapshot!(texts.join("\n"), @r"
        bad value `blue` of --log-color-mode: expected `auto`, `on` or `off`
        bad value `1` of WERF_LOG_COLOR_MODE: expected `auto`, `on` or `off`
        bad value `-2` of --log-terminal-width: expected a number of columns, or -1 for the terminal's width
        bad value `-7` of WERF_LOG_TERMINAL_WIDTH: expected a number of columns, or -1 for the terminal's width
        bad value `wide` of WERF_LOG_TERMINAL_WIDTH: expected a number of columns, or -1 for the terminal's width
        error: invalid value 'maybe' for '--log-quiet[=<BOOL>]': expected `true` or `false`

        For more information, try '--help'.
        ");
    }
}
