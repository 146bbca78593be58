//! What one execution may use. A template is a program that a stranger may have written.

use std::cell::Cell;

/// The bounds of one execution.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How deep templates may call each other (`include`, `template`, `tpl`), as in Helm.
    pub depth: usize,
    /// Bytes of any one text: the output, or a string on the way.
    pub text: usize,
    /// Elements of any one list or map.
    pub elements: usize,
    /// Work: one per executed node, list element, or 64 bytes of text.
    pub steps: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 1000, text: 64 << 20, elements: 1 << 20, steps: 20_000_000 }
    }
}

/// How deep lists and maps may be nested, or a walk of one may go: a map can contain itself.
pub const VALUE_DEPTH: usize = 200;

/// How deep blocks, parentheses and calls may be under execution together.
pub const NESTING: usize = 20_000;

/// What is left of the limits.
pub struct Budget {
    limits: Limits,
    spent: Cell<u64>,
}

impl Budget {
    pub fn new(limits: Limits) -> Self {
        Self { limits, spent: Cell::new(0) }
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Pays for work.
    pub fn spend(&self, steps: u64) -> Result<(), String> {
        let spent = self.spent.get().saturating_add(steps);
        self.spent.set(spent);
        if spent > self.limits.steps {
            return Err(format!("the template does more than {} steps of work", self.limits.steps));
        }
        Ok(())
    }

    /// Refuses a text that would be too long, before it is made.
    pub fn text(&self, bytes: usize) -> Result<(), String> {
        if bytes > self.limits.text {
            return Err(format!("the text would be longer than {} bytes", self.limits.text));
        }
        self.spend(bytes as u64 / 64)
    }

    /// Refuses a list that would be too long, before it is made.
    pub fn elements(&self, count: usize) -> Result<(), String> {
        if count > self.limits.elements {
            return Err(format!("the list would have more than {} elements", self.limits.elements));
        }
        self.spend(count as u64)
    }
}
