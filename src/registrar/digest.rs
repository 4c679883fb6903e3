//! Short names for long texts.

use aws_lc_rs::digest::{Context, SHA256};

/// Eight bytes of SHA-256, in hexadecimal, over all parts as one text.
pub(super) fn short_digest<'t>(parts: impl IntoIterator<Item = &'t str>) -> String {
    let mut context = Context::new(&SHA256);
    parts.into_iter().for_each(|part| context.update(part.as_bytes()));
    context.finish().as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
