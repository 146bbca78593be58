//! Assignments as text that a shell can source (spec/publish-and-cleanup.md 1.3).
//!
//! Values are foreign: whatever is in them, sourcing the text gives exactly that value and runs nothing.

use super::{Assignment, Block, CiEnvError, Outcome};

/// Who will read the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    Posix,
    PowerShell,
    CmdExe,
    /// A file of `NAME=VALUE` lines, as `docker run --env-file` reads them.
    EnvFile,
}

/// Whether sourcing the text also prints what was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    Silent,
    Verbose,
}

/// The whole text. Fails where a value has a line break that the reader has no way to carry.
pub fn render(blocks: &[Block], shell: Shell, echo: Echo) -> Result<String, CiEnvError> {
    let mut text = Text { shell, echo, text: String::new() };
    for (index, block) in blocks.iter().enumerate() {
        if index > 0 {
            text.blank();
        }
        let title = text.comment_sign_of_header();
        text.line(&format!("{title} {}", block.title), None);
        for assignment in &block.assignments {
            text.assignment(assignment)?;
        }
    }
    Ok(text.text)
}

/// The lines that make the sourcing shell stop, with the message when it may be shown.
pub fn failure(message: &str, shell: Shell, echo: Echo) -> String {
    let mut text = Text { shell, echo, text: String::new() };
    if echo == Echo::Verbose {
        text.echo("");
        text.echo(&format!("Error: {message}"));
    }
    text.text.push_str("exit 1\n");
    text.text
}

struct Text {
    shell: Shell,
    echo: Echo,
    text: String,
}

impl Text {
    fn assignment(&mut self, assignment: &Assignment) -> Result<(), CiEnvError> {
        let Assignment { name, value, outcome, secret } = assignment;
        let line = match outcome {
            Outcome::Set => self.set(name, value)?,
            Outcome::Empty => format!("{} {}", self.comment_sign(), self.set(name, "")?),
            Outcome::Unset => self.unset(name),
            Outcome::Kept(current) => {
                let (shown, current) =
                    if *secret { ("[MASKED]", "[MASKED]") } else { (value.as_str(), current.as_str()) };
                let one_line = |text: &str| text.replace('\n', "\\n").replace('\r', "\\r");
                let set = self.set(name, &one_line(shown))?;
                format!("{} skip {set} ({})", self.comment_sign(), one_line(current))
            }
        };
        let shown = if *secret && *outcome == Outcome::Set { Some(self.set(name, "[MASKED]")?) } else { None };
        self.line(&line, shown.as_deref());
        Ok(())
    }

    fn set(&self, name: &'static str, value: &str) -> Result<String, CiEnvError> {
        let no_line_break = |shell| {
            if value.contains(['\n', '\r']) { Err(CiEnvError::LineBreak { name, shell }) } else { Ok(()) }
        };
        Ok(match self.shell {
            Shell::Posix => format!("export {name}=\"{}\"", escaped(value, "\\\"$`", '\\')),
            Shell::PowerShell => format!("$Env:{name} = \"{}\"", escaped(value, "`\"$\u{201c}\u{201d}\u{201e}", '`')),
            Shell::CmdExe => {
                no_line_break("a cmd.exe script")?;
                format!("set {name}={}", for_cmd(value))
            }
            Shell::EnvFile => {
                no_line_break("an env file")?;
                format!("{name}={value}")
            }
        })
    }

    fn unset(&self, name: &str) -> String {
        match self.shell {
            Shell::Posix => format!("unset {name}"),
            Shell::PowerShell => format!("$Env:{name} = \"\""),
            Shell::CmdExe => format!("set {name}="),
            Shell::EnvFile => format!("{name}="),
        }
    }

    fn comment_sign(&self) -> &'static str {
        if self.shell == Shell::CmdExe { "::" } else { "#" }
    }

    fn comment_sign_of_header(&self) -> &'static str {
        if self.shell == Shell::CmdExe { "::" } else { "###" }
    }

    /// A line, and its echo where one is wanted: the line itself, or `shown` in its place.
    fn line(&mut self, line: &str, shown: Option<&str>) {
        self.text.push_str(line);
        self.text.push('\n');
        if self.echo == Echo::Verbose {
            self.echo(shown.unwrap_or(line));
        }
    }

    fn blank(&mut self) {
        self.text.push('\n');
        if self.echo == Echo::Verbose {
            self.echo("");
        }
    }

    fn echo(&mut self, line: &str) {
        let echo = match self.shell {
            Shell::Posix => format!("echo '{}'", line.replace('\'', "'\\''")),
            Shell::PowerShell => format!("echo '{}'", escaped(line, "'\u{2018}\u{2019}\u{201a}\u{201b}", '\'')),
            Shell::CmdExe if line.is_empty() => "echo.".to_owned(),
            Shell::CmdExe => format!("echo {}", for_cmd(line)),
            Shell::EnvFile => return,
        };
        self.text.push_str(&echo);
        self.text.push('\n');
    }
}

/// `text` with `escape` before each of `special`; PowerShell's quotes are doubled by the quote itself.
fn escaped(text: &str, special: &str, escape: char) -> String {
    let mut escaped = String::with_capacity(text.len());
    for scalar in text.chars() {
        if special.contains(scalar) {
            escaped.push(if escape == '\'' { scalar } else { escape });
        }
        escaped.push(scalar);
    }
    escaped
}

/// Doubles `%`, and takes the meaning from what separates or redirects commands.
fn for_cmd(text: &str) -> String {
    escaped(&text.replace('%', "%%"), "^&|<>\"", '^')
}
