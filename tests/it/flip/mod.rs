//! Flips cannot hurt: one movement over a fleet of proxies, which drops nothing, says when it is done, and goes back.
//! Each file holds one line of what must be shown.

mod bake;
mod broken;
mod churn;
mod flips;
mod grpc;
mod guard;
mod latency;
mod outliers;

use serde_json::{Value, json};
use std::time::Duration;

/// Longest wait for a mark that nothing stands in the way of.
const MARK_MAX: Duration = Duration::from_secs(30);

/// Settings of a backend whose servers are asked often.
fn checked() -> Value {
    json!({"Health": {"Path": "/health", "Interval": "200ms", "Timeout": "1s", "Rise": 1, "Fall": 2}})
}
