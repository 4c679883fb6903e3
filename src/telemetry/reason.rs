//! Why the proxy answered by itself or ended a request: one closed list shared by log, metrics and docs.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why the proxy answered by itself or ended a request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason, in the order of its discriminant.
            pub const ALL: [Reason; Reason::COUNT] = [$(Reason::$name,)*];
            /// How many there are.
            pub const COUNT: usize = [$($text,)*].len();

            /// As log, metrics and docs spell it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// No frontend matches.
    NoRoute = "no_route",
    /// The frontend's backend does not exist.
    NoBackend = "no_backend",
    /// The backend has no server that may get the request.
    NoServer = "no_server",
    /// The frontend is in maintenance.
    Maintenance = "maintenance",
    /// A limit of requests or connections was reached.
    Limited = "limited",
    /// A circuit breaker has tripped.
    Tripped = "tripped",
    /// Credentials are missing or wrong.
    Auth = "auth",
    /// The client's address is not one that is let in.
    Forbidden = "forbidden",
    /// The request is malformed or ambiguous.
    BadRequest = "bad_request",
    /// The request's head is larger than allowed.
    HeadTooLarge = "head_too_large",
    /// The request's body is larger than allowed.
    BodyTooLarge = "body_too_large",
    /// The connection's TLS name does not serve the request's host.
    Misdirected = "misdirected",
    /// No connection to a server could be made.
    ConnectFailed = "connect_failed",
    /// No connection to a server was made in time.
    ConnectTimeout = "connect_timeout",
    /// The server did not answer in time.
    UpstreamTimeout = "upstream_timeout",
    /// The server closed the connection before its answer's head.
    UpstreamReset = "upstream_reset",
    /// The server ended its answer before it was complete.
    UpstreamTruncated = "upstream_truncated",
    /// The server's answer is not HTTP, or larger than allowed.
    BadAnswer = "bad_answer",
    /// The client went away before its answer was complete.
    ClientGone = "client_gone",
    /// A defect of the proxy ended the request.
    Internal = "internal",
    /// The process is at one of its own limits.
    Overload = "overload",
    /// The process is ending.
    Draining = "draining",
}

impl Reason {
    /// Whether a request ended by it because no server answered as it should.
    pub const fn is_network_error(self) -> bool {
        matches!(
            self,
            Self::ConnectFailed
                | Self::ConnectTimeout
                | Self::UpstreamTimeout
                | Self::UpstreamReset
                | Self::UpstreamTruncated
                | Self::BadAnswer
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discriminants_index_the_list() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
        assert_eq!(Reason::COUNT, 22);
        assert_eq!(Reason::UpstreamTruncated.to_string(), "upstream_truncated");
    }
}
