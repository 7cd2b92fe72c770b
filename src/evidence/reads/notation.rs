//! Notations inside of texts: Spring's `${NAME:default}`, the tags of Go's fields, the shell's `${NAME:-default}`.

use bstr::{BString, ByteSlice as _};
use tree_sitter::Node;

use super::{EnvRead, Language, Name, gathered::Gathered};

/// The reads in a text.
pub(super) fn reads(
    language: Language,
    content: &[u8],
    node: Node<'_>,
    binding: Option<Node<'_>>,
) -> Vec<EnvRead> {
    let text = content.get(node.byte_range()).unwrap_or_default();
    let line = node.start_position().row + 1;
    let found = match language {
        Language::Go => tag(text).into_iter().collect(),
        _ => placeholders(text),
    };
    let field = binding.or_else(|| annotated_field(node));
    found
        .into_iter()
        .map(|(name, default)| {
            let mut gathered = Gathered::default();
            let unset = default.is_none() && language != Language::Go;
            if let Some(default) = default {
                gathered.falls_back(Some(default), line);
            }
            if let Some(field) = field {
                let name = content.get(field.byte_range()).unwrap_or_default();
                gathered.binding(name, line);
                gathered.typed(declared_type(content, field), line);
            }
            gathered.names(&name, line);
            EnvRead {
                name: Name::Known(name),
                line,
                unset: gathered.unset(unset),
                default: gathered.literal,
                at_build: false,
                uses: gathered.uses,
            }
        })
        .collect()
}

/// What a shell takes instead: `${X:-d}`, `${X-d}`, `${X:=d}`, `${X=d}`; `${X:?why}` ends the script.
pub(super) fn shell_default(read: &[u8], name: &[u8], line: usize, gathered: &mut Gathered) {
    let rest = read
        .strip_prefix(b"${")
        .and_then(|rest| rest.strip_prefix(name))
        .and_then(|rest| rest.strip_suffix(b"}"));
    let Some(rest) = rest else { return };
    let rest = rest.strip_prefix(b":").unwrap_or(rest);
    match rest.split_first() {
        Some((b'-' | b'=', default)) => {
            let default = default.trim_with(|character| character == '"' || character == '\'');
            let literal = !default.contains(&b'$') && !default.contains(&b'`');
            gathered.falls_back(literal.then(|| default.into()), line);
        }
        Some((b'?', _)) => gathered.raises = true,
        _ => {}
    }
}

/// `${NAME:default}` in a text of Spring. A property's name is that of a variable with `.` for `_`, in small letters
/// and with dashes that do not count.
fn placeholders(text: &[u8]) -> Vec<(BString, Option<BString>)> {
    let mut found = Vec::new();
    let mut rest = text;
    // Kotlin writes `\${`.
    while let Some(start) = rest.find(b"${") {
        rest = rest.get(start + 2..).unwrap_or_default();
        let Some(end) = rest.find_byte(b'}') else {
            break;
        };
        let inner = rest.get(..end).unwrap_or_default();
        let (name, default) = match inner.split_once_str(":") {
            Some((name, default)) => (name, Some(default.into())),
            None => (inner, None),
        };
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        if !name.is_empty() && name.iter().all(is_name) {
            found.push((variable_name(name), default));
        }
        rest = rest.get(end..).unwrap_or_default();
    }
    found
}

fn variable_name(property: &[u8]) -> BString {
    property
        .iter()
        .filter(|byte| **byte != b'-')
        .map(|byte| {
            if *byte == b'.' {
                b'_'
            } else {
                byte.to_ascii_uppercase()
            }
        })
        .collect::<Vec<_>>()
        .into()
}

/// `env:"X,required" envDefault:"80"`, `envconfig:"X" default:"80"`.
fn tag(text: &[u8]) -> Option<(BString, Option<BString>)> {
    let key = |wanted: &str| {
        let start = text.find(format!("{wanted}:\""))?;
        // `env` is no part of another key.
        let before = start.checked_sub(1).and_then(|before| text.get(before));
        if before.is_some_and(u8::is_ascii_alphanumeric) {
            return None;
        }
        let value = text.get(start + wanted.len() + 2..)?;
        value.get(..value.find_byte(b'"')?)
    };
    let name = key("env").or_else(|| key("envconfig"))?;
    let name = name.split_str(",").next()?;
    let default = key("envDefault").or_else(|| key("default"));
    (!name.is_empty() && name != b"-").then(|| (name.into(), default.map(Into::into)))
}

/// The name of the field or parameter that an annotation stands at.
fn annotated_field(node: Node<'_>) -> Option<Node<'_>> {
    let mut node = node;
    for _ in 0..8 {
        node = node.parent()?;
        match node.kind() {
            "field_declaration" => {
                return node
                    .child_by_field_name("declarator")?
                    .child_by_field_name("name");
            }
            "formal_parameter" => return node.child_by_field_name("name"),
            "property_declaration" | "class_parameter" => {
                let mut cursor = node.walk();
                return node
                    .named_children(&mut cursor)
                    .find_map(|child| match child.kind() {
                        "variable_declaration" => child.named_child(0),
                        "identifier" => Some(child),
                        _ => None,
                    });
            }
            _ => {}
        }
    }
    None
}

/// The type of the field that has this name.
fn declared_type<'a>(content: &'a [u8], name: Node<'_>) -> &'a [u8] {
    let mut node = name;
    for _ in 0..2 {
        let Some(parent) = node.parent() else { break };
        if let Some(kind) = parent.child_by_field_name("type") {
            return content.get(kind.byte_range()).unwrap_or_default();
        }
        node = parent;
    }
    name.next_named_sibling()
        .and_then(|kind| content.get(kind.byte_range()))
        .unwrap_or_default()
}
