//! Which limit a client, a server or the machine reached: one closed list shared by log, metrics and docs.

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A limit that a connection, a stream or a request was refused or ended for. Its name stands in the access
        /// log's `detail` and in the label of `flipgate_limit_reached_total`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Limit {
            $($(#[$doc])* $name,)*
        }

        impl Limit {
            /// Every limit, in the order of its discriminant.
            pub const ALL: [Limit; Limit::COUNT] = [$(Limit::$name,)*];
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

limits! {
    /// Connections of clients over all listeners.
    Connections = "connections",
    /// Connections of clients to one listener.
    ListenerConnections = "listener_connections",
    /// Connections from one network of clients.
    ClientConnections = "client_connections",
    /// The process has no file descriptor left for a client.
    Descriptors = "descriptors",
    /// The process holds as much memory as it may.
    Memory = "memory",
    /// The workers' event loops are behind.
    Lag = "lag",
    /// A PROXY header did not come in time.
    ProxyHeaderTime = "proxy_header_time",
    /// A TLS handshake did not end in time.
    HandshakeTime = "handshake_time",
    /// A request's head did not come in time.
    HeadTime = "head_time",
    /// A connection waited too long for its next request.
    IdleTime = "idle_time",
    /// A body was silent for too long.
    BodyTime = "body_time",
    /// A request's body came too slowly.
    BodyRate = "body_rate",
    /// A client took its answer too slowly.
    AnswerRate = "answer_rate",
    /// A request with its answer took too long altogether.
    RequestTime = "request_time",
    /// A tunnel was silent for too long.
    TunnelTime = "tunnel_time",
    /// HTTP/2: streams that the client began and reset, or broke.
    H2Resets = "h2_resets",
    /// HTTP/2: `PING` frames.
    H2Pings = "h2_pings",
    /// HTTP/2: `SETTINGS` frames, or entries in them.
    H2Settings = "h2_settings",
    /// HTTP/2: frames without content, and tiny ones.
    H2EmptyFrames = "h2_empty_frames",
    /// HTTP/2: `WINDOW_UPDATE` frames.
    H2WindowUpdates = "h2_window_updates",
    /// HTTP/2: `PRIORITY` frames.
    H2Priorities = "h2_priorities",
    /// HTTP/2: frames of unknown types.
    H2Unknown = "h2_unknown",
    /// HTTP/2: `CONTINUATION` frames of one header block, or its bytes.
    H2Continuations = "h2_continuations",
    /// HTTP/2: the score over everything that is odd.
    H2Oddities = "h2_oddities",
    /// HTTP/2: fields of one message, crumbs of cookies counted.
    H2Fields = "h2_fields",
    /// HTTP/2: an answer whose client opens no window for it.
    H2Stall = "h2_stall",
    /// HTTP/2: requests of one connection, which then ends in good order.
    H2Requests = "h2_requests",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_a_name_of_its_own() {
        let names: std::collections::HashSet<_> = Limit::ALL.iter().map(|limit| limit.as_str()).collect();
        assert_eq!(names.len(), Limit::COUNT);
        for (index, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, index);
        }
    }
}
