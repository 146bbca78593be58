pub mod ci_file;
