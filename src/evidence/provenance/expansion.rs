//! `$(NAME)` in `value`, as the kubelet expands it (`third_party/forked/golang/expansion/expand.go`).

use super::value::Value;

/// What a reference stands for.
pub(super) enum Resolved {
    /// A value.
    Value(Value),
    /// Nothing has this name: the reference stays as it is.
    Nothing,
    /// Nobody knows.
    Unknown(String),
}

/// Expands the references. The error says what is not known.
pub(super) fn expand(
    text: &str,
    mut resolve: impl FnMut(&str) -> Resolved,
) -> Result<Value, String> {
    let mut value = Value::default();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        value.push_clear(before.as_bytes());
        rest = after;
        if let Some(after) = after.strip_prefix('$') {
            value.push_clear(b"$");
            rest = after;
        } else if let Some((name, after)) = reference(after) {
            match resolve(name) {
                Resolved::Value(found) => value.push(&found),
                Resolved::Nothing => value.push_clear(format!("$({name})").as_bytes()),
                Resolved::Unknown(why) => return Err(why),
            }
            rest = after;
        } else {
            // An operator that begins nothing stands for itself, also at the end.
            value.push_clear(b"$");
        }
    }
    value.push_clear(rest.as_bytes());
    Ok(value)
}

/// The names to which a text refers, in order.
pub(super) fn references(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let _ = expand(text, |name| {
        names.push(name.to_owned());
        Resolved::Nothing
    });
    names
}

/// `(NAME)` at the beginning; the name may hold anything but `)`, also nothing.
fn reference(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('(')?.split_once(')')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> String {
        let value = expand(text, |name| match name {
            "A" => Resolved::Value(Value::clear("1")),
            "DOLLAR" => Resolved::Value(Value::clear("$(A)")),
            _ => Resolved::Nothing,
        });
        String::from_utf8(value.unwrap().bytes().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn the_grammar_is_the_kubelets() {
        for (text, result) in [
            ("$(A)-$(A)", "1-1"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$$$$", "$$"),
            ("$(B)", "$(B)"),
            ("$(A", "$(A"),
            ("$(", "$("),
            ("$", "$"),
            ("a$", "a$"),
            ("$()", "$()"),
            ("$($(A))", "$($(A))"),
            ("$é$(A)", "$é1"),
            ("$(DOLLAR)", "$(A)"),
            ("$A", "$A"),
        ] {
            assert_eq!(expanded(text), result, "{text}");
        }
    }

    #[test]
    fn references_are_named_in_order() {
        assert_eq!(references("$(B)$$(C)$(A)"), ["B", "A"]);
    }
}
