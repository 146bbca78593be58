//! Whose a container is, so that another process can tell whether anybody still wants it.

use std::collections::HashMap;

use bollard::query_parameters::{ListContainersOptions, ListImagesOptions, RemoveContainerOptions, RemoveImageOptions};

use super::{DockerError, DockerRuntime};

/// Label of everything that is to go when its process is gone; its value names the process.
pub(super) const OWNER: &str = "io.slipway.owner";
/// Label of a container: the image it was asked for, when it was made of another one with a layer on top.
pub(super) const IMAGE: &str = "io.slipway.image";

/// A process, unique among all that may share an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// The machine, and the pid namespace on it.
    place: String,
    /// Since when the machine is up.
    boot: String,
    pid: u32,
    /// When the process began, in clock ticks since boot: pids come back.
    started: u64,
}

impl Owner {
    pub(super) fn of_this_process() -> Self {
        let pid = std::process::id();
        Self { place: place(), boot: boot(), pid, started: started(pid).unwrap_or(0) }
    }

    pub(super) fn label(&self) -> String {
        format!("{} {} {} {}", self.place, self.boot, self.pid, self.started)
    }

    fn parse(label: &str) -> Option<Self> {
        let mut words = label.split(' ');
        let (place, boot) = (words.next()?.to_owned(), words.next()?.to_owned());
        let (pid, started) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self { place, boot, pid, started })
    }

    /// Whether the process is certainly gone. Of other machines and pid namespaces we know nothing.
    fn is_gone(&self, seen_from: &Self) -> bool {
        self.place == seen_from.place && (self.boot != seen_from.boot || started(self.pid) != Some(self.started))
    }
}

impl DockerRuntime {
    /// Removes containers and temporary images of processes of this host that are gone. Gives the names of the containers.
    pub async fn reap(&self) -> Result<Vec<String>, DockerError> {
        let labelled = || Some(HashMap::from([("label".to_owned(), vec![OWNER.to_owned()])]));
        let options = ListContainersOptions { all: true, filters: labelled(), ..Default::default() };
        let containers = self.docker.list_containers(Some(options)).await.map_err(self.failed("list containers"))?;
        let mut reaped = Vec::new();
        for container in containers {
            let (Some(id), labels) = (container.id, container.labels.unwrap_or_default()) else { continue };
            if self.is_abandoned(labels.get(OWNER)) {
                let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
                // Somebody else may clear at the same time.
                if self.docker.remove_container(&id, Some(options)).await.is_ok() {
                    reaped.push(container.names.unwrap_or_default().concat().trim_start_matches('/').to_owned());
                }
            }
        }
        let options = ListImagesOptions { filters: labelled(), ..Default::default() };
        for image in self.docker.list_images(Some(options)).await.map_err(self.failed("list images"))? {
            if self.is_abandoned(image.labels.get(OWNER)) {
                let options = RemoveImageOptions { noprune: true, ..Default::default() };
                let _ = self.docker.remove_image(&image.id, Some(options), None).await;
            }
        }
        Ok(reaped)
    }

    fn is_abandoned(&self, label: Option<&String>) -> bool {
        label.and_then(|label| Owner::parse(label)).is_some_and(|owner| owner.is_gone(&self.owner))
    }
}

/// The machine's id and name (clones of a machine share the id) and our pid namespace.
fn place() -> String {
    let word = |path| first_word(path).unwrap_or_else(|| "unknown".to_owned());
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{}/{}/{}", word("/etc/machine-id"), word("/proc/sys/kernel/hostname"), namespace.display())
}

fn boot() -> String {
    first_word("/proc/sys/kernel/random/boot_id").unwrap_or_else(|| "unknown".to_owned())
}

fn first_word(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    text.split_whitespace().next().map(str::to_owned)
}

/// When a living process began, in clock ticks since boot: the 22nd field of its `stat`, behind a name in parentheses.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_certainly_is_gone_is_gone() {
        let here = Owner::of_this_process();
        assert_eq!(Owner::parse(&here.label()), Some(here.clone()));
        assert!(!here.is_gone(&here));
        assert!(Owner { started: 1, ..here.clone() }.is_gone(&here), "the pid has another process now");
        assert!(Owner { boot: "earlier".to_owned(), ..here.clone() }.is_gone(&here), "the machine was restarted");
        assert!(!Owner { place: "elsewhere".to_owned(), started: 1, ..here.clone() }.is_gone(&here));
        assert_eq!(Owner::parse("hand made"), None);
    }
}
