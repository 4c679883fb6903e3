//! What can be wrong with a message.

/// Why a head is refused. The names are for logs; the client sees only the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeadProblem {
    /// More than two empty lines before the request line.
    LeadingLines,
    /// A line that ends in LF without CR.
    BareLineFeed,
    /// A CR that no LF follows.
    BareCarriageReturn,
    /// The method is not a token.
    Method,
    /// The method is longer than any in use.
    MethodTooLong,
    /// The request line is not three words, the third of them a version.
    RequestLine,
    /// The request target has a form or a byte that is not allowed.
    Target,
    /// The request target is longer than its limit.
    TargetTooLong,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// The status line is not one.
    StatusLine,
    /// A field name is empty, not a token, or followed by white space.
    FieldName,
    /// A field value has a control character, or is folded.
    FieldValue,
    /// A field name with `_` that some servers read as a framing field.
    FieldAlias,
    /// More fields than the limit.
    TooManyFields,
    /// The head is longer than its limit.
    HeadTooLong,
    /// An HTTP/1.1 or HTTP/2 request without a host.
    HostMissing,
    /// More than one host, or two that differ.
    HostRepeated,
    /// The host or its port is malformed.
    Host,
    /// `Content-Length` is not one decimal number below 2^64.
    ContentLength,
    /// `Content-Length` more than once, or as a list.
    ContentLengthRepeated,
    /// `Transfer-Encoding` is not exactly one `chunked`.
    TransferEncoding,
    /// `Transfer-Encoding` in an HTTP/1.0 message.
    TransferEncodingVersion,
    /// `Content-Length` and `Transfer-Encoding` in one message.
    BothLengths,
    /// `Connection` names a framing field, or more options than anyone needs.
    ConnectionOption,
    /// An expectation other than `100-continue`.
    Expectation,
    /// A field that belongs to one HTTP/1.1 connection, in an HTTP/2 message (RFC 9113 section 8.2.2).
    ConnectionField,
}

impl HeadProblem {
    /// The name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LeadingLines => "leading_lines",
            Self::BareLineFeed => "bare_line_feed",
            Self::BareCarriageReturn => "bare_carriage_return",
            Self::Method => "method",
            Self::MethodTooLong => "method_too_long",
            Self::RequestLine => "request_line",
            Self::Target => "target",
            Self::TargetTooLong => "target_too_long",
            Self::Version => "version",
            Self::StatusLine => "status_line",
            Self::FieldName => "field_name",
            Self::FieldValue => "field_value",
            Self::FieldAlias => "field_alias",
            Self::TooManyFields => "too_many_fields",
            Self::HeadTooLong => "head_too_long",
            Self::HostMissing => "host_missing",
            Self::HostRepeated => "host_repeated",
            Self::Host => "host",
            Self::ContentLength => "content_length",
            Self::ContentLengthRepeated => "content_length_repeated",
            Self::TransferEncoding => "transfer_encoding",
            Self::TransferEncodingVersion => "transfer_encoding_version",
            Self::BothLengths => "both_lengths",
            Self::ConnectionOption => "connection_option",
            Self::Expectation => "expectation",
            Self::ConnectionField => "connection_field",
        }
    }

    /// The status of the answer when a request is refused for this.
    pub fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::Expectation => 417,
            Self::TooManyFields | Self::HeadTooLong => 431,
            Self::MethodTooLong => 501,
            Self::Version => 505,
            _ => 400,
        }
    }
}

/// A head that is refused; the connection it came on cannot be used further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", reason.as_str())]
pub struct HeadError {
    /// What is wrong.
    pub reason: HeadProblem,
    /// The status of the answer: 400, 414, 417, 431, 501 or 505 for a request, 502 for an upstream's answer.
    pub status: u16,
}

impl HeadError {
    /// A refused request.
    pub(super) fn request(reason: HeadProblem) -> Self {
        Self { reason, status: reason.status() }
    }

    /// A refused answer.
    pub(super) fn response(reason: HeadProblem) -> Self {
        Self { reason, status: 502 }
    }
}

/// Why a body cannot be read further. Both its connections are unusable afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The size line of a chunk is malformed.
    #[error("the size of a chunk is malformed")]
    ChunkSize,
    /// A chunk extension is malformed.
    #[error("a chunk extension is malformed")]
    ChunkExtension,
    /// The chunk extensions of the message are longer than their limit.
    #[error("the chunk extensions are too long")]
    ChunkExtensionTooLong,
    /// A chunk does not end where its size says.
    #[error("a chunk does not end where its size says")]
    ChunkEnd,
    /// The trailer section is malformed.
    #[error("the trailer section is malformed")]
    Trailer,
    /// The trailer section is longer, or has more fields, than its limit.
    #[error("the trailer section is too long")]
    TrailerTooLong,
    /// The connection ended before the body did.
    #[error("the body was cut short")]
    Truncated,
}

/// A field that cannot be written: its name is not a token, its value has a control character, or the head is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a field that can be sent")]
pub struct InvalidField;

/// A text that is not a request target in origin form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a request target")]
pub struct InvalidTarget;
