//! Text from elsewhere, so that it does nothing but be read.

/// Writes control characters as their escapes. A description, say, may have line breaks in it, and what follows one in
/// the log of a job on GitHub is a command to the runner, if it looks like `::error::`; a terminal has its own.
pub(super) fn harmless(text: &str) -> String {
    let is_control = |c: char| c.is_control() || ['\u{2028}', '\u{2029}'].contains(&c);
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_control(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(harmless("a\n::error::b\r\u{1b}[31m\u{85}\u{2028}"), "a\\n::error::b\\r\\u{1b}[31m\\u{85}\\u{2028}");
        assert_eq!(harmless("Größe: 5000–5019 'x' \"y\" \\"), "Größe: 5000–5019 'x' \"y\" \\");
    }
}
