//! Which container runtime this host uses, decided once and remembered (decisions 3.1).
