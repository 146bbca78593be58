//! Time as a value: the system's, or a literal one that tests move.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Clone, Debug)]
pub enum Clock {
    System,
    /// Milliseconds since 1970; every reading moves it by one, so that two readings differ.
    Literal(Arc<AtomicI64>),
}

impl Clock {
    pub fn literal(milliseconds: i64) -> Self {
        Self::Literal(Arc::new(AtomicI64::new(milliseconds)))
    }

    /// Milliseconds since 1970.
    pub fn now(&self) -> i64 {
        match self {
            Self::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            }
            Self::Literal(now) => now.fetch_add(1, Ordering::Relaxed),
        }
    }
}
