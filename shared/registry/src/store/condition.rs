//! A condition as a request carries it: rules, the names in them, and the values.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::delete_item::builders::DeleteItemFluentBuilder;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::builders::{ConditionCheckBuilder, DeleteBuilder, PutBuilder, UpdateBuilder};
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};

use super::rules::Rule;

/// The name of a value in an expression, and the value.
pub(crate) type Value = (&'static str, AttributeValue);

/// Rules that must all hold for a write to take effect.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    expression: String,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Condition {
    /// The conjunction of these rules over these values. DynamoDB refuses a value that no rule uses.
    pub(crate) fn all(rules: &[Rule], values: impl IntoIterator<Item = Value>) -> Self {
        Self::of(Clause::all(rules.iter().copied().map(Clause::from)), values)
    }

    /// A clause over these values.
    pub(crate) fn of(Clause(expression): Clause, values: impl IntoIterator<Item = Value>) -> Self {
        let values = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { names: names(&expression), expression, values }
    }

    /// The same condition for an update that uses these values as well.
    pub(super) fn with_update(mut self, update: &str, values: impl IntoIterator<Item = Value>) -> Self {
        self.names.extend(names(update));
        self.values.extend(values.into_iter().map(|(name, value)| (name.to_owned(), value)));
        self
    }
}

/// Rules joined by AND and OR.
#[derive(Clone, Debug)]
pub(crate) struct Clause(String);

impl From<Rule> for Clause {
    fn from(Rule(text): Rule) -> Self {
        Self(text.to_owned())
    }
}

impl Clause {
    /// All of these clauses hold.
    pub(crate) fn all(clauses: impl IntoIterator<Item = Self>) -> Self {
        Self::join(clauses, " AND ", " OR ")
    }

    /// One of these clauses holds, or several do.
    pub(crate) fn any(clauses: impl IntoIterator<Item = Self>) -> Self {
        Self::join(clauses, " OR ", " AND ")
    }

    /// Joins clauses by `word`. Those that contain the `other` word get parentheses, unless there is only one.
    fn join(clauses: impl IntoIterator<Item = Self>, word: &str, other: &str) -> Self {
        let clauses: Vec<_> = clauses.into_iter().collect();
        let several = clauses.len() > 1;
        let enclosed = |Self(text): Self| if several && text.contains(other) { format!("({text})") } else { text };
        Self(clauses.into_iter().map(enclosed).collect::<Vec<_>>().join(word))
    }
}

/// The attributes that the `#` names in an expression stand for: `#secret` for the attribute `secret`.
pub(crate) fn names(expression: &str) -> HashMap<String, String> {
    let mut names = HashMap::new();
    for rest in expression.split('#').skip(1) {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let attribute = &rest[..end];
        names.insert(format!("#{attribute}"), attribute.to_owned());
    }
    names
}

/// A write that can be made conditional. A loser is shown the item as it was, so that it learns the reason without
/// another read.
pub(crate) trait Conditional: Sized {
    /// Adds the condition to the write.
    fn only_if(self, condition: Condition) -> Self;
}

macro_rules! conditional {
    ($($builder:ty),+) => {$(
        impl Conditional for $builder {
            fn only_if(self, Condition { expression, names, values }: Condition) -> Self {
                self.condition_expression(expression)
                    .set_expression_attribute_names(Some(names).filter(|names| !names.is_empty()))
                    .set_expression_attribute_values(Some(values).filter(|values| !values.is_empty()))
                    .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            }
        }
    )+};
}

conditional!(
    PutBuilder,
    DeleteBuilder,
    ConditionCheckBuilder,
    UpdateBuilder,
    PutItemFluentBuilder,
    DeleteItemFluentBuilder,
    UpdateItemFluentBuilder
);

/// Updates an item if the condition holds; `values` are those of the update.
pub(crate) fn update_only_if(
    request: UpdateItemFluentBuilder,
    update: &str,
    values: impl IntoIterator<Item = Value>,
    condition: Condition,
) -> UpdateItemFluentBuilder {
    request.update_expression(update).only_if(condition.with_update(update, values))
}

#[cfg(test)]
mod tests {
    use super::super::item::number;
    use super::super::rules::{self, Rule};
    use super::*;

    #[test]
    fn an_expression_brings_its_own_names() {
        let condition = Condition::all(&[rules::PORT_IF_DEAD, rules::ACCEPT_SECRET], [(":now", number(1))]);
        let expected = "(attribute_not_exists(#pk) OR #expires_at <= :now) AND #secret = :secret";
        assert_eq!(condition.expression, expected);
        let mut names: Vec<_> = condition.names.into_iter().collect();
        names.sort();
        let expected = [("#expires_at", "expires_at"), ("#pk", "pk"), ("#secret", "secret")];
        assert_eq!(names, expected.map(|(name, attribute)| (name.to_owned(), attribute.to_owned())));
        assert!(super::names("attribute_not_exists(pk)").is_empty());
    }

    #[test]
    fn clauses_are_enclosed_where_they_must_be() {
        let clause = |text: &str| Clause(text.to_owned());
        let Clause(all) = Clause::all([clause("a"), Clause::any([clause("b"), clause("c AND d")])]);
        assert_eq!(all, "a AND (b OR (c AND d))");
        let Clause(any) = Clause::any([clause("a OR b"), Clause::all([clause("c"), clause("d")])]);
        assert_eq!(any, "a OR b OR (c AND d)");
    }

    /// DynamoDB might reserve a bare word.
    #[test]
    fn every_rule_names_attributes_with_a_hash() {
        for Rule(text) in rules::ALL {
            let bare = text.replace("attribute_not_exists", "").replace("attribute_exists", "");
            let bare = bare.replace(" OR ", " ").replace(" AND ", " ");
            let words = bare.split(|c: char| !c.is_ascii_alphanumeric() && !"#:_".contains(c));
            for word in words.filter(|word| !word.is_empty()) {
                assert!(word.starts_with(['#', ':']), "{word} in {text}");
            }
        }
    }
}
