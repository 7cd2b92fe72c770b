//! Ways through a syntax tree that differ by grammar: what is assigned to, what is called, what a function is.

use tree_sitter::Node;

/// Whether a node is given a value instead of read.
pub(super) fn is_written(node: Node<'_>) -> bool {
    let Some(parent) = node.parent() else {
        return false;
    };
    let (target, holder) = match parent.kind() {
        "expression_list" | "pattern_list" | "variable_declaration" => (parent, parent.parent()),
        _ => (node, Some(parent)),
    };
    let Some(holder) = holder else { return false };
    match holder.kind() {
        "delete_statement" | "unset_statement" => true,
        "assignment"
        | "assignment_expression"
        | "assignment_statement"
        | "short_var_declaration"
        | "variable_declarator"
        | "let_declaration"
        | "variable_assignment"
        | "var_spec"
        | "const_spec"
        | "property_declaration"
        | "reference_assignment_expression" => {
            holder
                .named_child(0)
                .is_some_and(|first| first.id() == target.id())
                || ["left", "name", "pattern"].into_iter().any(|field| {
                    holder
                        .child_by_field_name(field)
                        .is_some_and(|one| one.id() == target.id())
                })
        }
        _ => false,
    }
}

/// The name in what is assigned to: that of a field, the first of several.
pub(super) fn name_in(target: Node<'_>) -> Option<Node<'_>> {
    let mut node = target;
    for _ in 0..6 {
        node = match node.kind() {
            "attribute"
            | "member_expression"
            | "field_expression"
            | "selector_expression"
            | "member_access_expression"
            | "navigation_expression"
            | "tuple_struct_pattern" => {
                let last = u32::try_from(node.named_child_count())
                    .ok()?
                    .checked_sub(1)?;
                node.named_child(last)?
            }
            "expression_list"
            | "pattern_list"
            | "variable_declaration"
            | "mut_pattern"
            | "tuple_pattern" => {
                let mut cursor = node.walk();
                let names = |child: &Node<'_>| {
                    !matches!(
                        child.kind(),
                        "mutable_specifier" | "annotation" | "modifiers"
                    )
                };
                let first = node.named_children(&mut cursor).find(names);
                first?
            }
            _ => return Some(node),
        };
    }
    None
}

/// The call whose function this is.
pub(super) fn calling(member: Node<'_>) -> Option<Node<'_>> {
    if matches!(
        member.kind(),
        "method_invocation" | "call" | "member_call_expression"
    ) {
        return Some(member);
    }
    let mut parent = member.parent()?;
    if parent.kind() == "generic_function" {
        parent = parent.parent()?;
    }
    let is_it = matches!(parent.kind(), "call" | "call_expression")
        && parent
            .named_child(0)
            .is_some_and(|function| function.start_byte() == member.start_byte());
    is_it.then_some(parent)
}

/// What a call calls.
pub(super) fn function_of(call: Node<'_>) -> Option<Node<'_>> {
    match call.kind() {
        "call"
        | "call_expression"
        | "function_call_expression"
        | "new_expression"
        | "object_creation_expression"
        | "method_invocation"
        | "member_call_expression"
        | "scoped_call_expression" => ["function", "method", "name", "constructor", "type"]
            .into_iter()
            .find_map(|field| call.child_by_field_name(field))
            .or_else(|| call.named_child(0)),
        _ => None,
    }
}

/// What a method is called on.
pub(super) fn receiver_of(call: Node<'_>) -> Option<Node<'_>> {
    if let Some(receiver) = ["object", "receiver"]
        .into_iter()
        .find_map(|field| call.child_by_field_name(field))
    {
        return Some(receiver);
    }
    let function = function_of(call)?;
    matches!(
        function.kind(),
        "attribute" | "member_expression" | "navigation_expression" | "field_expression"
    )
    .then(|| function.named_child(0))?
}

/// The function around a node, or the whole file.
pub(super) fn scope(node: Node<'_>) -> Node<'_> {
    let mut outermost = node;
    while let Some(parent) = outermost.parent() {
        outermost = parent;
        let kind = outermost.kind();
        if kind.contains("function") && !kind.contains("call") && !kind.contains("type")
            || matches!(
                kind,
                "method_declaration" | "method" | "method_definition" | "constructor_declaration"
            )
        {
            break;
        }
    }
    outermost
}

pub(super) fn is_inside(node: Node<'_>, scope: Node<'_>) -> bool {
    scope.start_byte() <= node.start_byte() && node.end_byte() <= scope.end_byte()
}

pub(super) fn rightmost(node: Node<'_>) -> Node<'_> {
    let mut node = node;
    while matches!(
        node.kind(),
        "binary_expression" | "binary_operator" | "binary" | "parenthesized_expression"
    ) {
        let last = u32::try_from(node.named_child_count())
            .unwrap_or_default()
            .checked_sub(1);
        match last.and_then(|last| node.named_child(last)) {
            Some(right) => node = right,
            None => break,
        }
    }
    node
}

/// The operator of a node that has one.
pub(super) fn operator(node: Node<'_>) -> &str {
    let mut cursor = node.walk();
    let found = node
        .children(&mut cursor)
        .find(|child| !child.is_named() && !matches!(child.kind(), "(" | ")"));
    found.map_or("", |found| found.kind())
}

/// The line of a node, counted from 1.
pub(super) fn line(node: Node<'_>) -> usize {
    node.start_position().row + 1
}
