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
