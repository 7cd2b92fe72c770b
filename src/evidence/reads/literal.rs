//! Literals: texts and numbers as the source has them.

use bstr::{BString, ByteSlice as _};
use tree_sitter::Node;

/// The content of a text without anything put into it; `None` when the node is no such text. Escapes stay as they
/// are written: no name and no port needs one.
pub(super) fn text(content: &[u8], node: Node<'_>) -> Option<BString> {
    let is_text = matches!(
        node.kind(),
        "string"
            | "string_literal"
            | "interpreted_string_literal"
            | "raw_string_literal"
            | "encapsed_string"
            | "template_string"
            | "raw_string"
            | "multiline_string_literal"
    );
    if !is_text || has_substitution(content, node) {
        return None;
    }
    let bytes = content.get(node.byte_range())?;
    // What stands before the quotes: b"…", r#"…"#, f"…".
    let start = bytes.find_byteset(b"\"'`")?;
    let quote = *bytes.get(start)?;
    let end = bytes.rfind_byte(quote)?;
    let inner = bytes.get(start + 1..end).unwrap_or_default();
    // Three quotes are one.
    Some(
        inner
            .trim_with(|character| character == char::from(quote))
            .into(),
    )
}

/// A literal, also within what only makes another type of it: `"80".to_string()`, `|_| "80".into()`, `{ "80" }`.
pub(super) fn of(content: &[u8], node: Node<'_>) -> Option<BString> {
    let mut node = node;
    for _ in 0..6 {
        if let Some(text) = text(content, node) {
            return Some(text);
        }
        node = match node.kind() {
            "number"
            | "integer"
            | "float"
            | "int_literal"
            | "float_literal"
            | "integer_literal"
            | "decimal_integer_literal"
            | "number_literal"
            | "true"
            | "false"
            | "boolean"
            | "boolean_literal"
            | "word" => return content.get(node.byte_range()).map(Into::into),
            "keyword_argument" => node.child_by_field_name("value")?,
            "closure_expression" | "arrow_function" | "lambda" | "do_block" | "block" => {
                node.child_by_field_name("body")?
            }
            "call_expression" if is_conversion(content, node) => {
                let function = node.child_by_field_name("function")?;
                match function.child_by_field_name("value") {
                    Some(receiver) => receiver,
                    None => node.child_by_field_name("arguments")?.named_child(0)?,
                }
            }
            "parenthesized_expression"
            | "block_body"
            | "reference_expression"
            | "argument"
            | "value_argument" => node.named_child(0)?,
            _ => return None,
        };
    }
    None
}

/// Rust's ways from `&str` to `String`.
fn is_conversion(content: &[u8], call: Node<'_>) -> bool {
    let function = call.child_by_field_name("function");
    let name = function.and_then(|function| content.get(function.byte_range()));
    let name = name
        .unwrap_or_default()
        .rsplit(|byte| b".:".contains(byte))
        .next();
    matches!(name, Some(b"to_string" | b"to_owned" | b"into" | b"from"))
}

fn has_substitution(content: &[u8], node: Node<'_>) -> bool {
    let mut cursor = node.walk();
    node.named_children(&mut cursor).any(|child| {
        let kind = child.kind();
        !(kind.ends_with("content")
            || kind.ends_with("fragment")
            || matches!(kind, "string_start" | "string_end" | "escape_sequence"))
            || kotlin_name(content, child).is_some()
    })
}

/// The name of `$name` in a text of Kotlin, whose grammar has the sign and what follows it as two contents.
pub(super) fn kotlin_name<'a>(content: &'a [u8], node: Node<'_>) -> Option<&'a [u8]> {
    if node.kind() != "string_content" || content.get(node.byte_range())? != b"$" {
        return None;
    }
    let rest = content.get(node.next_sibling()?.byte_range())?;
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii();
    let length = rest.iter().take_while(|byte| is_name(byte)).count();
    let starts = rest.first().is_some_and(|byte| !byte.is_ascii_digit());
    rest.get(..length).filter(|name| starts && !name.is_empty())
}
