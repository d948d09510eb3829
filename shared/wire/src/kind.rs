//! The one table of problems: kind → status, type, title, explanation.

use http::StatusCode;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $slug:literal $status:ident $title:literal $explanation:literal;)*) => {
        /// A kind of problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(#[doc = $explanation] $kind,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// Its last segment in `/problems/{kind}`.
            #[must_use]
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$kind => $slug,)* }
            }

            /// The status of its responses.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)* }
            }

            /// The same few words for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }

            /// A paragraph on its meaning and on what to do.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$kind => $explanation,)* }
            }
        }
    };
}

kinds! {
    InvalidRequest "invalid-request" BAD_REQUEST "The request is not valid"
        "A field, a parameter or a header is missing, of the wrong type, or out of bounds. `errors` names each one with what it should be. Nothing was changed; correct them all and send the request again.";
    MalformedJson "malformed-json" BAD_REQUEST "The body is not JSON"
        "The body could not be read as JSON (RFC 8259), or names a field twice. `detail` says where. Check how the body is quoted; in a shell, single quotes around it keep its double quotes.";
    CrossOrigin "cross-origin" FORBIDDEN "Web pages of this origin may not call"
        "A web page of another origin (the header `Origin`) called a registry that has no authentication. Nothing was changed. To let pages of that host call, start the registry with `--allow-host NAME`, or set PORTMASTER_ALLOW_HOST. Programs other than browsers need no `Origin`.";
    NotFound "not-found" NOT_FOUND "There is nothing at this path"
        "The API has no such path. Paths have no trailing slash, and nothing in them needs percent-encoding. GET /v1/openapi.json lists them all.";
    NamespaceNotFound "namespace-not-found" NOT_FOUND "There is no such namespace"
        "No namespace has this name. Names are case-sensitive. GET /v1/namespaces lists them; PUT /v1/namespaces/{namespace} creates one. Paths without a namespace mean `default`, which always exists.";
    ServiceNotFound "service-not-found" NOT_FOUND "There is no such service"
        "No service has this name. Names are case-sensitive. GET /v1/services lists them; POST /v1/services or PUT /v1/services/{service} creates one.";
    OfferNotFound "offer-not-found" NOT_FOUND "There is no such offer"
        "No live offer of this service has this secret: it never existed, was rejected, was accepted (and is now a port), or expired and was removed. Ask for a new offer.";
    PortNotFound "port-not-found" NOT_FOUND "There is no such port"
        "The port or name has no allocation, or not in this service. An offer becomes one when it is accepted: where the port is offered, `state`, `service`, `name` and `expires_at` say to whom and until when. Where it is cooling or in quarantine, `state` says so, and `expires_at` from when on others may have it. GET /v1/ports/{port} looks across services.";
    HistoryOff "history-off" NOT_FOUND "No history is kept"
        "History is kept in a deployment whose parameter `HistoryDays` is not 0, and on one machine with its own database, unless `--history-days 0` turns it off. If it is turned on later, it starts with the changes from then on.";
    MethodNotAllowed "method-not-allowed" METHOD_NOT_ALLOWED "The path does not have this method"
        "The `Allow` header lists the methods that it has.";
    RequestTimeout "request-timeout" REQUEST_TIMEOUT "The body did not arrive in time"
        "The registry waits for a body as long as a request may take. The connection was too slow, or `Content-Length` announced more than was sent. Nothing was changed; send the request again.";
    ServiceExists "service-exists" CONFLICT "A service of this name exists"
        "Names are unique. To create or replace a service in one request, as a pipeline does, use PUT /v1/services/{service}.";
    NamespaceInUse "namespace-in-use" CONFLICT "The namespace is in use"
        "A namespace that has services cannot be deleted; `services` names the first of them, and `more` says whether there are others. Nothing was changed. Delete the services first. If there is a `Retry-After`, a service is being created or deleted at this moment: try again then. The namespace `default` is never deleted.";
    RangeOverlap "range-overlap" CONFLICT "The range overlaps another service's"
        "The ranges of services never overlap. `conflicts` lists the services in the way, with their ranges; choose ports between them, or shrink them first.";
    RangeInUse "range-in-use" CONFLICT "Ports outside the new range are in use"
        "Live offers or ports of the service lie outside the range asked for. `ports` lists up to ten of them. Release what is allocated. Offers are rejected by their holders, who alone have the secrets, or expire: by `offers_expire_by` at the latest.";
    ServiceInUse "service-in-use" CONFLICT "The service is in use"
        "A service with live offers or ports is not deleted. Release its ports. Its offers are rejected by their holders, who alone have the secrets, or expire: by `offers_expire_by` at the latest, unless they are accepted before.";
    NameTaken "name-taken" CONFLICT "The name has a port already"
        "An instance has one port at a time. `port` and `state` say which, and `owner` and `expires_at`, where they apply, who holds it and until when. `Retry-After`, where present, says when a lease that is over has been over for long enough. Accept or reject the offer, release the port, use another name, or, if the port is yours, name its owner in a PUT. To get the same offer again when you retry a request, send an Idempotency-Key.";
    PortTaken "port-taken" CONFLICT "The port is taken"
        "The very port that was asked for is not to be had: `state`, and where they are known `service`, `name` and `owner`, say what has it, and `until` from when on others may have it, unless it is renewed or released before. Ask for another port, or for any by leaving `port` out. An operator ends a cool-down or a quarantine with DELETE /v1/services/{service}/quarantine/{port}.";
    PortNotInRange "port-not-in-range" CONFLICT "The port is not in the service's range"
        "The port that was named is not one of this service's. `start` and `end` say which ports the service has. Name another port, or extend the range with PATCH /v1/services/{service}.";
    NotTheOwner "not-the-owner" CONFLICT "The port belongs to another owner"
        "A port that has an owner is renewed and released by naming that owner, and a port that has none by naming none. `owner`, `name` and `since` say who holds it and since when. Nothing was changed: this is what makes a late clean-up harmless. If the port is to be released whoever holds it, use `?owner=*`.";
    RangeExhausted "range-exhausted" CONFLICT "Every port of the range is taken"
        "The whole range was read and has no free port; a range of more than 100 ports is read once a second at most. `Retry-After`, where present, says when the first port comes back by itself or the range is read again; `cooling`, `quarantined` and `reserved` count ports that nobody uses and nobody is given. For a set, `wanted` says how many ports there was no room for. Release ports, or extend the range with PATCH /v1/services/{service}.";
    OfferAccepted "offer-accepted" CONFLICT "The offer was accepted"
        "The offer has become an allocation and can no longer be rejected. Release it: DELETE /v1/services/{service}/ports/{port}.";
    OfferExpired "offer-expired" GONE "The offer has expired"
        "It was not accepted in time and its port may have been offered to another instance. Ask for a new offer, and accept it before its `expires_at`.";
    LeaseExpired "lease-expired" GONE "The lease is over"
        "The lease was not renewed in time, and the port is lost: another may have it soon. Stop using it, and ask again with PUT /v1/services/{service}/ports/{name}. The same owner gets the same port back at once, as long as nobody else has it. Renew earlier, for example when half of the time is over.";
    PreconditionFailed "precondition-failed" PRECONDITION_FAILED "The precondition does not hold"
        "Nothing was changed. For a port: `If-None-Match: *` requires that the name has none and `If-Match: *` that it has one. For a service: it does not meet `If-Match` or `If-None-Match`: it has another version, does not exist, or already exists. Read it again, decide whether your change still applies, and send its new `ETag`.";
    PayloadTooLarge "payload-too-large" PAYLOAD_TOO_LARGE "The body is too large"
        "A body has at most 16 KiB.";
    UnsupportedMediaType "unsupported-media-type" UNSUPPORTED_MEDIA_TYPE "The body is not declared as JSON"
        "Send `Content-Type: application/json`, and no `Content-Encoding`: compressed bodies are not accepted. curl sends another type by default with `-d`; `--json` sends the right one.";
    MisdirectedRequest "misdirected-request" MISDIRECTED_REQUEST "The registry does not answer to this name"
        "The header `Host` names something other than this registry. On one machine it answers only to the address that it listens on, to `localhost` and loopback addresses, and to names that it was given, because a web page could make a name of its own resolve to it. Nothing was changed. To give it a name, start it with `--allow-host NAME`, or set PORTMASTER_ALLOW_HOST.";
    IdempotencyKeyReused "idempotency-key-reused" UNPROCESSABLE_ENTITY "The Idempotency-Key was used for another request"
        "The key belongs to an offer that is still live and was asked for with another body. Use one key for one request: for example the pipeline's id and the instance's name.";
    ServiceClosing "service-closing" SERVICE_UNAVAILABLE "The service is being changed"
        "The service is being deleted or its range is being shrunk. Retry after the seconds in `Retry-After`; if it keeps failing, a deletion was interrupted: repeat it, or wait for the reconciler.";
    Unavailable "unavailable" SERVICE_UNAVAILABLE "The registry's table does not answer"
        "DynamoDB throttled the request, was unreachable, or refused it until the request timed out. Try again after the seconds in `Retry-After`. The operator finds the reason in the log, under the request id.";
    Internal "internal" INTERNAL_SERVER_ERROR "The registry made a mistake"
        "This is a defect. Please report it with the request id.";
}

impl Kind {
    /// The problem's type (RFC 9457, section 3.1.1): a reference relative to the API's root.
    #[must_use]
    pub fn type_uri(self) -> String {
        format!("/problems/{}", self.slug())
    }

    /// The kind with this slug.
    #[must_use]
    pub fn named(slug: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.slug() == slug)
    }
}
