//! Git repositories, read through libgit2 straight from the object store; never a work tree.
