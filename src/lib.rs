//! slipway: a GitLab Runner custom executor, and the build, publish and deploy tool that its jobs call.
//!
//! # The map
//!
//! Five layers; arrows point down only.
//!
//! ```text
//! 5 entry      cli                                      flags, wiring, printing of reports, exit code
//! 4 scenarios  executor  exec  build  publish           async; never call each other, cli passes data between them
//! 3 doors      runtime  layer  storage  registry  git  toolchain  lease      all domain I/O
//! 2 rules      config  settings  ci_env  template  stage       sync and pure: no files, no network, no clock, no printing
//! 1 words      ids  image_ref  file_tree  slug  duration  yaml  error    values everybody speaks
//!   beside     sys (env, clock, paths, process, files, signals)  ui (what people see)     used by 3-5, unknown to 2 and 1
//! ```
//!
//! Sideways arrows, and no others: `storage → runtime, registry`; `runtime → registry, layer`; `git → layer`;
//! `toolchain → runtime`; `config → template`; `stage → config`; `git → stage::mapping`.
//!
//! Every scenario has one shape: facts → plan (data) → execution → report (data).
//!
//! # Start reading here
//!
//! `cli::run` → `cli::build` → `build::conveyor`: how a command becomes stages. `executor::mod`: how a GitLab job becomes hooks.
//!
//! | module | holds |
//! | --- | --- |
//! | [`ids`], [`image_ref`], [`slug`], [`duration`] | commits, signatures, image names, safe names, Go's durations |
//! | [`file_tree`] | paths and contents, wherever they come from |
//! | [`yaml`] | YAML as Go reads it, with positions and limits |
//! | [`error`] | what an error tells: kind, hints, exit code |
//! | [`config`] | werf.yaml: its keys, checks and typed model |
//! | [`template`] | Go templates with sprig's and werf's functions |
//! | [`settings`] | the admin's file |
//! | [`ci_env`] | variables of a CI job as variables of werf |
//! | [`stage`] | what stages there are, what they depend on, which is chosen, why |
//! | [`git`] | files, patches and history from the object store |
//! | [`layer`] | tar layers, written bit-identical and read with suspicion |
//! | [`registry`] | the OCI distribution protocol, credentials |
//! | [`runtime`] | containers and images: docker, embedded |
//! | [`storage`] | where stages are kept, and locks |
//! | [`lease`] | what a job owns, and whether its owner lives |
//! | [`toolchain`] | programs lent to build containers |
//! | [`build`], [`publish`] | images made of stages; images under tags in a registry |
//! | [`executor`], [`exec`] | the runner's four hooks; a local job through them |
//! | [`cli`] | flags, wiring, exit codes |
//! | [`sys`], [`ui`] | the operating system; the log |
//!
//! Where this differs from the first sketch: `config` reads its sections through one table of keys (`config::keys`) instead of
//! a mirror of the YAML in structs, so that an unknown key, a wrong type and a conflict are told with the line they stand on.
//! `template` has a lexer and parser of its own rather than a crate's, because errors need columns and whitespace must be
//! exact. Modules for deploying, cleanup and the host's care come with the commands that need them.

// 1 words
pub mod duration;
pub mod error;
pub mod file_tree;
pub mod ids;
pub mod image_ref;
pub mod slug;
pub mod yaml;

// 2 rules
pub mod ci_env;
pub mod config;
pub mod settings;
pub mod stage;
pub mod template;

// 3 doors
pub mod git;
pub mod layer;
pub mod lease;
pub mod registry;
pub mod runtime;
pub mod storage;
pub mod toolchain;

// 4 scenarios
pub mod build;
pub mod exec;
pub mod executor;
pub mod publish;

// 5 entry
pub mod cli;

// beside
pub mod sys;
pub mod ui;
