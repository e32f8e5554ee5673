//! Labels of what crosses the process's border: HTTP as its semantic conventions name it, and what is sent to a collector.

use super::values::{Label, label};

label! {
    /// A request's method, by RFC 9110; anything else is one value, so that a stranger cannot grow the set.
    Method {
        /// `GET`.
        Get = "GET",
        /// `HEAD`.
        Head = "HEAD",
        /// `PUT`.
        Put = "PUT",
        /// `POST`.
        Post = "POST",
        /// `DELETE`.
        Delete = "DELETE",
        /// `OPTIONS`.
        Options = "OPTIONS",
        /// Any other.
        Other = "_OTHER",
    }
}

impl Method {
    /// The label of a request's method.
    pub fn of(method: &http::Method) -> Self {
        Self::ALL.iter().copied().find(|known| known.as_str() == method.as_str()).unwrap_or(Self::Other)
    }
}

label! {
    /// A status that we answer with.
    Status {
        /// OK.
        S200 = "200",
        /// No Content.
        S204 = "204",
        /// Partial Content.
        S206 = "206",
        /// Moved Permanently: another region's caller.
        S301 = "301",
        /// Not Modified.
        S304 = "304",
        /// Temporary Redirect.
        S307 = "307",
        /// Bad Request.
        S400 = "400",
        /// Forbidden.
        S403 = "403",
        /// Not Found.
        S404 = "404",
        /// Method Not Allowed.
        S405 = "405",
        /// Request Timeout.
        S408 = "408",
        /// Conflict.
        S409 = "409",
        /// Length Required.
        S411 = "411",
        /// Precondition Failed.
        S412 = "412",
        /// Content Too Large.
        S413 = "413",
        /// Range Not Satisfiable.
        S416 = "416",
        /// Too Many Requests.
        S429 = "429",
        /// Request Header Fields Too Large.
        S431 = "431",
        /// Internal Server Error.
        S500 = "500",
        /// Not Implemented.
        S501 = "501",
        /// Service Unavailable.
        S503 = "503",
        /// Any other.
        Other = "other",
    }
}

impl Status {
    /// The label of a status.
    pub const fn of(status: u16) -> Self {
        match status {
            200 => Self::S200,
            204 => Self::S204,
            206 => Self::S206,
            301 => Self::S301,
            304 => Self::S304,
            307 => Self::S307,
            400 => Self::S400,
            403 => Self::S403,
            404 => Self::S404,
            405 => Self::S405,
            408 => Self::S408,
            409 => Self::S409,
            411 => Self::S411,
            412 => Self::S412,
            413 => Self::S413,
            416 => Self::S416,
            429 => Self::S429,
            431 => Self::S431,
            500 => Self::S500,
            501 => Self::S501,
            503 => Self::S503,
            _ => Self::Other,
        }
    }
}

label! {
    /// What became of an ended span.
    SpanFate {
        /// The collector took it.
        Sent = "sent",
        /// The queue was full.
        QueueFull = "queue_full",
        /// The collector could not be reached, or did not take the batch, in as many tries as there are.
        Failed = "failed",
        /// The collector took the batch and not this span.
        Rejected = "rejected",
    }
}

label! {
    /// What is sent to a collector.
    Signal {
        /// Spans.
        Traces = "traces",
        /// Metrics.
        Metrics = "metrics",
    }
}

label! {
    /// How a collector answered.
    ExportOutcome {
        /// It took the export.
        Ok = "ok",
        /// It did not answer in time.
        Timeout = "timeout",
        /// It could not be reached, or the connection broke.
        Unreachable = "unreachable",
        /// It asked to be tried later.
        Busy = "busy",
        /// It does not want this.
        Refused = "refused",
        /// It answered, and nobody understands what.
        Garbled = "garbled",
    }
}
