pub mod ci_file;
pub mod script;
pub mod variables;
