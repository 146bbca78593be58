//! What to run -> the `config.json` of the OCI runtime specification. Pure.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::ids::Digest;
use crate::runtime::{ContainerSpec, Cpus, ImageConfig, Limits, Mount};

/// The search path where neither the image nor the caller sets one; Docker's.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What root may do in a container: Docker's default set. `CAP_MKNOD` is left out where no devices cgroup guards the result.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Kernel files that tell about, or change, the host.
const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READ_ONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Who the first process is, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// For `HOME`, where nothing else sets it.
    pub home: String,
}

/// What this host lets us do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// We are root only in a user namespace of our own.
    pub user_namespace: bool,
    /// A cgroup says which devices a container may open. Where none does, a container can make no device node, and those of
    /// its image do not work.
    pub guards_devices: bool,
    /// Swap can be limited too.
    pub counts_swap: bool,
}

/// The environment of the first process: the image's, then the container's own; `PATH`, `HOME` and `TERM` where missing.
pub fn environment(image: &ImageConfig, container: &[(String, String)], home: &str, terminal: bool) -> Vec<String> {
    let mut lines: Vec<String> = Vec::with_capacity(image.env.len() + container.len() + 3);
    let mut set = |line: String| {
        let name = line.split('=').next().unwrap_or_default();
        match lines.iter_mut().find(|known| known.split('=').next() == Some(name)) {
            Some(known) => *known = line,
            None => lines.push(line),
        }
    };
    set(DEFAULT_PATH.to_owned());
    set(format!("HOME={home}"));
    if terminal {
        set("TERM=xterm".to_owned());
    }
    image.env.iter().filter(|line| line.contains('=')).for_each(|line| set(line.clone()));
    container.iter().for_each(|(name, value)| set(format!("{name}={value}")));
    lines
}

/// The runtime configuration. `directory` is the container's own, with the root file system mounted at `merged` and private
/// files in `run`; `command` is what to start, `environment` as made by [`environment`].
pub fn runtime_config(
    directory: &Path,
    container: &ContainerSpec,
    command: &[String],
    workdir: &Path,
    environment: &[String],
    identity: &Identity,
    host: Host,
) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": directory.join("merged"), "readonly": false },
        "process": {
            "terminal": container.terminal,
            "user": { "uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups },
            "args": command,
            "env": environment,
            "cwd": workdir,
            "capabilities": capabilities(identity, host),
            "noNewPrivileges": false,
        },
        "mounts": mounts(directory, &container.mounts, host),
        "linux": {
            "namespaces": [{ "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" }],
            "cgroupsPath": cgroup_of(directory),
            "resources": resources(host, &container.limits),
            "maskedPaths": MASKED_PATHS,
            "readonlyPaths": READ_ONLY_PATHS,
            "rootfsPropagation": "private",
        },
    })
}

/// The control group of a container, below that of the root: unique for its directory, for stores may share a host.
pub fn cgroup_of(directory: &Path) -> String {
    let hash = Digest::of(directory.as_os_str().as_bytes());
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    format!("/slipway/{name}-{}", hash.hex().get(..12).unwrap_or_default())
}

/// Only root keeps what is in the set; another user may gain it through the file capabilities of what it executes.
fn capabilities(identity: &Identity, host: Host) -> Value {
    let bounding: Vec<&str> =
        CAPABILITIES.into_iter().filter(|name| host.guards_devices || *name != "CAP_MKNOD").collect();
    let held = if identity.uid == 0 { bounding.clone() } else { Vec::new() };
    json!({ "bounding": bounding, "effective": held, "permitted": held, "inheritable": [], "ambient": [] })
}

/// Device nodes may be made, but only the harmless ones opened; the runtime adds those itself.
fn resources(host: Host, limits: &Limits) -> Value {
    let mut resources = serde_json::Map::new();
    if host.guards_devices {
        let devices = json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "access": "m" },
            { "allow": true, "type": "b", "access": "m" },
        ]);
        resources.insert("devices".to_owned(), devices);
    }
    if let Some(memory) = limits.memory {
        // Together with swap, where the kernel counts that.
        let swap = host.counts_swap.then_some(memory.0);
        resources.insert("memory".to_owned(), json!({ "limit": memory.0, "swap": swap }));
    }
    if let Some(pids) = limits.pids {
        resources.insert("pids".to_owned(), json!({ "limit": pids.0 }));
    }
    if let Some(cpus) = limits.cpus {
        resources.insert("cpu".to_owned(), json!({ "quota": cpus.quota(), "period": Cpus::PERIOD }));
    }
    Value::Object(resources)
}

fn mounts(directory: &Path, own: &[Mount], host: Host) -> Value {
    let plain = ["nosuid", "noexec", "nodev"];
    // The host's network namespace belongs to the host's user namespace: from ours, a new sysfs is refused.
    let (sys_type, sys_source, sys_option) =
        if host.user_namespace { ("none", "/sys", Some("rbind")) } else { ("sysfs", "sysfs", None) };
    let sys_options: Vec<&str> = plain.into_iter().chain(["ro"]).chain(sys_option).collect();
    let sys = json!({ "destination": "/sys", "type": sys_type, "source": sys_source, "options": sys_options });
    let pts_owner = (!host.user_namespace).then_some("gid=5");
    let pts: Vec<&str> =
        ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"].into_iter().chain(pts_owner).collect();
    let mut list = vec![
        json!({ "destination": "/proc", "type": "proc", "source": "proc", "options": plain }),
        json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] }),
        json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": pts }),
        json!({ "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] }),
        json!({ "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": plain }),
        sys,
    ];
    for name in HOST_FILES {
        list.push(json!({ "destination": format!("/etc/{name}"), "type": "none",
                          "source": directory.join("run").join(name), "options": ["bind", "nosuid", "nodev", "noexec"] }));
    }
    for mount in own {
        let access = if mount.read_only { "ro" } else { "rw" };
        list.push(json!({ "destination": mount.target, "type": "none", "source": mount.source,
                          "options": ["rbind", "rprivate", access] }));
    }
    Value::Array(list)
}

/// Files of the host's `/etc` that every container gets its own copy of, so that names resolve as they do on the host.
pub const HOST_FILES: [&str; 2] = ["resolv.conf", "hosts"];

/// Directories that something is mounted on in every container.
pub const MOUNT_POINTS: [&str; 3] = ["dev", "proc", "sys"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_s_own_variables_win_and_defaults_fill_in() {
        let image =
            ImageConfig { env: vec!["PATH=/opt/bin".into(), "A=1".into(), "junk".into()], ..Default::default() };
        let lines = environment(&image, &[("A".into(), "2".into()), ("B".into(), "x=y".into())], "/root", false);
        assert_eq!(lines, ["PATH=/opt/bin", "HOME=/root", "A=2", "B=x=y"]);
        assert_eq!(environment(&ImageConfig::default(), &[], "/", true), [DEFAULT_PATH, "HOME=/", "TERM=xterm"]);
    }

    #[test]
    fn another_user_than_root_holds_no_capability() {
        let identity = Identity { uid: 1000, ..Identity::default() };
        let config = config(&identity, ROOT);
        let capabilities = &config["process"]["capabilities"];
        assert_eq!(capabilities["effective"], json!([]));
        assert_eq!(capabilities["bounding"].as_array().unwrap().len(), 14);
    }

    #[test]
    fn device_nodes_are_not_made_where_nothing_guards_them() {
        let config = config(&Identity::default(), UNPRIVILEGED);
        assert!(!config.to_string().contains("CAP_MKNOD"));
        assert_eq!(config["linux"]["resources"], json!({}));
    }

    #[test]
    fn own_mounts_come_last_with_their_access() {
        let config = config(&Identity::default(), ROOT);
        let mount = config["mounts"].as_array().unwrap().last().unwrap();
        assert_eq!(
            mount,
            &json!({ "destination": "/in", "type": "none", "source": "/out", "options": ["rbind", "rprivate", "ro"] })
        );
    }

    const ROOT: Host = Host { user_namespace: false, guards_devices: true, counts_swap: false };
    const UNPRIVILEGED: Host = Host { user_namespace: true, guards_devices: false, counts_swap: false };

    fn config(identity: &Identity, host: Host) -> Value {
        let container = ContainerSpec {
            name: "c1".to_owned(),
            mounts: vec![Mount { source: "/out".into(), target: "/in".into(), read_only: true }],
            ..ContainerSpec::default()
        };
        runtime_config(Path::new("/c"), &container, &["true".to_owned()], Path::new("/"), &[], identity, host)
    }
}
