//! In which order a proxy prefers routes that match the same request, as a setting names it.

/// The order among routes of the same priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RouteOrder {
    /// The most specific first.
    #[default]
    Flipgate,
    /// As vulcand's router: by the text of the expressions.
    Vulcand,
}

impl RouteOrder {
    /// Its name in settings and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flipgate => "flipgate",
            Self::Vulcand => "vulcand",
        }
    }
}
