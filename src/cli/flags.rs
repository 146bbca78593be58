//! Groups of flags that several commands share. The help text is the documentation; each flag names its variable.

use std::path::PathBuf;

use clap::Args;
use clap::builder::TypedValueParser as _;

/// Where the project is (spec/publish-and-cleanup.md 8.3).
#[derive(Clone, Debug, Default, Args)]
pub struct ProjectFlags {
    /// Project directory; relative paths count from the current directory [$WERF_DIR]
    #[arg(long, env = "WERF_DIR", hide_env = true, value_parser = path(), value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Configuration file [$WERF_CONFIG, default: werf.yml, then werf.yaml in the project]
    #[arg(long, env = "WERF_CONFIG", hide_env = true, value_parser = path(), value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory with werf.yaml templates [$WERF_CONFIG_TEMPLATES_DIR, default: .werf in the project]
    #[arg(long, env = "WERF_CONFIG_TEMPLATES_DIR", hide_env = true, value_parser = path(), value_name = "DIR")]
    pub config_templates_dir: Option<PathBuf>,
}

/// How much is said, and in which form (spec/build.md 6.3).
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Log")]
pub struct LogFlags {
    /// Say only what went wrong [$WERF_LOG_QUIET]
    #[arg(long, alias = "quiet", global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub log_quiet: Option<bool>,
    /// Say more: git, lookups, decisions [$WERF_LOG_VERBOSE]
    #[arg(long, alias = "verbose", global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub log_verbose: Option<bool>,
    /// Say everything, each line with the elapsed time [$WERF_LOG_DEBUG]
    #[arg(long, alias = "debug", global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub log_debug: Option<bool>,
    /// Boxes, emoji and wrapping; `--log-pretty=false` for plain lines [$WERF_LOG_PRETTY]
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub log_pretty: Option<bool>,
    /// Colours: auto, on or off [$WERF_LOG_COLOR_MODE]
    #[arg(long, global = true, value_name = "MODE")]
    pub log_color_mode: Option<String>,
    /// Columns of the log; -1 is the terminal's width, or 140 [$WERF_LOG_TERMINAL_WIDTH]
    #[arg(long, global = true, allow_hyphen_values = true, value_name = "COLUMNS")]
    pub log_terminal_width: Option<i64>,
}

/// A switch as Go's flags take it: `--log-quiet`, `--log-quiet=false`.
pub fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("expected `true` or `false`".to_owned()),
    }
}

/// A path that may be empty: a variable set to nothing is as good as unset, which clap's own parser of paths does not grant.
fn path() -> impl clap::builder::TypedValueParser<Value = PathBuf> {
    clap::builder::OsStringValueParser::new().map(PathBuf::from)
}
