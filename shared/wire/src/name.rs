//! The rule for names, for the OpenAPI document.

use utoipa::ToSchema;

/// The rule for names, for the OpenAPI document.
#[derive(ToSchema)]
#[schema(
    description = "Letters and digits, with . _ ~ - between them; at most 64 characters; case-sensitive.",
    min_length = 1,
    max_length = 64,
    pattern = "^[A-Za-z0-9]([A-Za-z0-9._~-]{0,62}[A-Za-z0-9])?$",
    example = "django"
)]
#[allow(dead_code, reason = "only its schema is used")]
pub(crate) struct Name(String);
