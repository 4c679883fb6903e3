//! What the deployer writes on its objects, and what can be read there.

use crate::deployer::objects::{DEPLOYMENT, TERM};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Whose an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::deployer) enum Mark<'a> {
    /// No deployment made it.
    Foreign,
    /// This one did.
    Of(&'a str),
}

/// Whose an object is, by its annotations.
pub(in crate::deployer) fn whose(meta: &ObjectMeta) -> Mark<'_> {
    let deployment = meta.annotations.as_ref().and_then(|all| all.get(DEPLOYMENT));
    deployment.map_or(Mark::Foreign, |id| Mark::Of(id))
}

/// The term of who last wrote it; 0 where none is to be read.
pub(super) fn term(meta: &ObjectMeta) -> u64 {
    let term = meta.annotations.as_ref().and_then(|all| all.get(TERM));
    term.and_then(|term| term.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read() {
        let meta = |annotations: &[(&str, &str)]| ObjectMeta {
            annotations: Some(
                annotations.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
            ),
            ..ObjectMeta::default()
        };
        assert_eq!(whose(&ObjectMeta::default()), Mark::Foreign);
        assert_eq!(whose(&meta(&[("else", "x")])), Mark::Foreign);
        assert_eq!(whose(&meta(&[(DEPLOYMENT, "x")])), Mark::Of("x"));
        assert_eq!(term(&meta(&[(TERM, "7")])), 7);
        assert_eq!(term(&meta(&[(TERM, "seven")])), 0);
        assert_eq!(term(&ObjectMeta::default()), 0);
    }
}
