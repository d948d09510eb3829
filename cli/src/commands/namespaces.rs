//! `namespace`.

use portmaster_client::domain::Description;
use portmaster_client::wire::NamespaceContent;

use crate::args::NamespaceCommand;
use crate::output::Said;
use crate::{Context, Failure};

pub(super) async fn run(context: &Context<'_>, command: NamespaceCommand) -> Result<(), Failure> {
    let Context { client, voice, .. } = context;
    match command {
        NamespaceCommand::Put { name, description } => {
            let description = description.map(Description::try_from).transpose();
            let description = description.map_err(|invalid| Failure::Usage(format!("--description {invalid}")))?;
            voice.show(&client.put_namespace(&name, &NamespaceContent { description }).await?.value)
        }
        NamespaceCommand::List => voice.show(&client.list_namespaces().all().await?),
        NamespaceCommand::Show { name } => voice.show(&client.get_namespace(&name).await?.value),
        NamespaceCommand::Delete { name } => {
            client.delete_namespace(&name).await?;
            let sentence = format!("the namespace {name} is deleted");
            voice.show(&Said { sentence, members: serde_json::json!({ "deleted": name }) })
        }
    }
}
