//! The `docker` section (spec/build.md 1.12).

use super::error::{At, Problem};
use super::field::Field;
use super::model::{Command, Docker};

/// An empty string is as good as no value; an empty list takes away what the base image has.
pub(super) fn convert(section: Field<'_>, artifact: bool) -> Result<Option<Docker>, At> {
    let Some(field) = section.get("docker") else {
        return Ok(None);
    };
    if artifact {
        let place = section.node.key_at("docker").unwrap_or(field.at());
        return Err(At { place, problem: Problem::DockerOfArtifact });
    }
    let docker = field.map()?;
    let is_given = |command: &Command| *command != Command::Shell(String::new());
    let command = |key| Ok(docker.get(key).map(command).transpose()?.filter(is_given));
    let (entrypoint, cmd) = (command("ENTRYPOINT")?, command("CMD")?);
    let text = |key| Ok(docker.optional_text(key)?.filter(|text| !text.is_empty()));
    let map = |key| Ok(docker.get(key).map(Field::text_map).transpose()?.unwrap_or_default());
    Ok(Some(Docker {
        volume: docker.texts_or_empty("VOLUME")?,
        expose: docker.texts_or_empty("EXPOSE")?,
        env: map("ENV")?,
        label: map("LABEL")?,
        // The base image's CMD would be arguments that the new entrypoint does not know.
        cmd: cmd.or_else(|| entrypoint.is_some().then(|| Command::Exec(Vec::new()))),
        entrypoint,
        workdir: text("WORKDIR")?,
        user: text("USER")?,
        healthcheck: text("HEALTHCHECK")?,
    }))
}

fn command(field: Field<'_>) -> Result<Command, At> {
    if !field.node.value.is_sequence() {
        return field.text().map(Command::Shell).map_err(|_| field.not("a string or a list of strings"));
    }
    let arguments =
        field.list()?.map(|item| if item.node.value.is_string() { item.text() } else { Err(item.not("a string")) });
    Ok(Command::Exec(arguments.collect::<Result<_, _>>()?))
}
