//! What a value is.

use super::super::functions::{Row, table};
use super::super::value::Value;
use super::text;

pub const ROWS: &[Row] = table! {
    "kindOf" (Any) => |_, a| text(a.any(0).kind()),
    "kindIs" (Str, Any) => |_, a| Ok(Value::Bool(a.any(1).kind() == a.str(0))),
    "typeOf" (Any) => |_, a| text(a.any(0).type_name()),
    "typeIs" (Str, Any) => |_, a| Ok(Value::Bool(a.any(1).type_name() == a.str(0))),
    "typeIsLike" (Str, Any) => |_, a| Ok(Value::Bool(a.any(1).type_name().trim_start_matches('*') == a.str(0))),
    "deepEqual" (Any, Any) => |engine, a| Ok(Value::Bool(a.any(0).deep_equal(a.any(1), &engine.budget)?)),
};
