//! What an image is apart from its layers: configuration, and changes to it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::ImageId;

/// The `config` object of an OCI image configuration, with the fields that Docker adds. Unknown fields are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(skip_serializing_if = "is_empty_map")]
    pub exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(deserialize_with = "null_is_empty")]
    pub env: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_empty_map")]
    pub volumes: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    #[serde(deserialize_with = "null_is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    pub on_build: Vec<String>,
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

fn is_empty_map(map: &Option<BTreeMap<String, serde_json::Value>>) -> bool {
    map.as_ref().is_none_or(BTreeMap::is_empty)
}

/// Docker writes `null` where it means nothing.
fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What a stage changes in an image's configuration. Empty fields change nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageChange {
    pub labels: BTreeMap<String, String>,
    /// Set or replaced by name, in this order.
    pub env: Vec<(String, String)>,
    pub volumes: BTreeSet<String>,
    /// `80`, `80/tcp`, `8000-8010/udp` as in a Dockerfile.
    pub expose: BTreeSet<String>,
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    pub workdir: Option<String>,
    pub user: Option<String>,
    /// The `Healthcheck` object of the configuration.
    pub healthcheck: Option<serde_json::Value>,
}

impl ImageConfig {
    /// The configuration after a change.
    #[must_use]
    pub fn changed(&self, change: &ImageChange) -> Self {
        let mut config = self.clone();
        config.labels.extend(change.labels.clone());
        for (name, value) in &change.env {
            let line = format!("{name}={value}");
            let prefix = format!("{name}=");
            match config.env.iter_mut().find(|entry| entry.starts_with(&prefix)) {
                Some(entry) => *entry = line,
                None => config.env.push(line),
            }
        }
        let empty = || serde_json::Value::Object(serde_json::Map::new());
        for volume in &change.volumes {
            config.volumes.get_or_insert_default().insert(volume.clone(), empty());
        }
        for port in &change.expose {
            let port = if port.contains('/') { port.clone() } else { format!("{port}/tcp") };
            config.exposed_ports.get_or_insert_default().insert(port, empty());
        }
        if let Some(entrypoint) = &change.entrypoint {
            config.entrypoint = Some(entrypoint.clone());
        }
        if let Some(cmd) = &change.cmd {
            config.cmd = Some(cmd.clone());
        }
        if let Some(workdir) = &change.workdir {
            config.working_dir = workdir.clone();
        }
        if let Some(user) = &change.user {
            config.user = user.clone();
        }
        if let Some(healthcheck) = &change.healthcheck {
            config.healthcheck = Some(healthcheck.clone());
        }
        config
    }

    /// The value of an environment variable of the image.
    pub fn env_value(&self, name: &str) -> Option<&str> {
        self.env.iter().rev().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }
}

/// An image of this host.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageDescription {
    pub id: ImageId,
    pub parent: Option<ImageId>,
    /// Local names, `repository:tag`.
    pub names: Vec<String>,
    pub config: ImageConfig,
    /// Milliseconds since 1970.
    pub created: i64,
    /// Bytes of all layers, uncompressed where known.
    pub size: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_replaces_by_name_and_keeps_the_rest() {
        let base: ImageConfig = serde_json::from_str(
            r#"{"Env":["PATH=/bin","A=1"],"Cmd":["sh"],"Labels":null,"ArgsEscaped":true,"ExposedPorts":{"80/tcp":{}}}"#,
        )
        .unwrap();
        let change = ImageChange {
            env: vec![("A".into(), "2".into()), ("B".into(), "3".into())],
            expose: ["8080".to_owned()].into(),
            cmd: Some(vec![]),
            labels: [("werf".to_owned(), "tools".to_owned())].into(),
            ..ImageChange::default()
        };
        let config = base.changed(&change);
        assert_eq!(config.env, ["PATH=/bin", "A=2", "B=3"]);
        assert_eq!(config.cmd.as_deref(), Some(&[][..]));
        assert_eq!(config.exposed_ports.as_ref().unwrap().keys().collect::<Vec<_>>(), ["80/tcp", "8080/tcp"]);
        assert_eq!(config.env_value("A"), Some("2"));
        assert_eq!(serde_json::to_value(&config).unwrap()["ArgsEscaped"], true);
    }
}
