//! Changes the API, its stage and its deployment, and adds the contract.

use std::collections::BTreeSet;

use super::contract::{self, ApiPlace, ROLE};
use super::rewrite::{BucketPlace, Project, Work, has_output};
use super::tree::Tree;
use super::uris::{self, Output, Resolver};
use super::{openapi, stage};
use crate::delivery::stage_variables;
use crate::documents::init::{Advice, AdviceKind};
use crate::terraform::source::{Found, Repeat, Step, steps};

/// A block and the scope that it is in.
type Placed<'a> = (usize, Found<'a>);

/// The output of a module with the attributes of the stage.
const STAGE_OUTPUT: &str = "deployctl_stage";

impl Work {
    /// Changes the API, its stage, its deployment and its URIs, and adds the contract.
    pub(crate) fn api(&mut self, project: Project<'_, '_>, bucket: &BucketPlace) {
        let tree = project.tree;
        let apis: Vec<Placed<'_>> = tree.resources("aws_api_gateway_rest_api").collect();
        let stages: Vec<Placed<'_>> = tree.resources("aws_api_gateway_stage").collect();
        let Some(api) = named_api(&apis, &stages).or_else(|| apis.first()) else {
            self.no_api(&project.layer.name);
            return;
        };
        let address = tree.address(api.0, &api.1);
        if apis.len() > 1 || stages.len() > 1 {
            self.advice.push(Advice::new(format!(
                "layer {} has {} APIs and {} stages; deployctl releases one: {address}",
                project.layer.name,
                apis.len(),
                stages.len(),
            )));
        }
        self.found.rest_api = Some(address);
        let near = stages.first().map_or(api.0, |(scope, _)| *scope);
        let deployments: Vec<Placed<'_>> = tree.resources("aws_api_gateway_deployment").collect();
        let deployment = deployments.iter().find(|(scope, _)| *scope == near).or(deployments.first());
        self.found.deployment = deployment.map(|(scope, found)| tree.address(*scope, found));
        let with_variables = stages.first().or(deployment.filter(|_| stages.is_empty()));
        let keys: Vec<String> = project.functions.iter().map(|function| function.key(None)).collect();
        let is_function = |name: &str| keys.iter().any(|key| key == name);
        let own = with_variables.and_then(|(_, found)| stage_variables::own(found, is_function));
        let own = own.map(|own| own.value);
        let stage = self.stage(project, api, stages.first(), deployment, own.is_some());
        self.found.stage = stage.as_ref().map(|stage| match tree.path(stage.0).as_slice() {
            [] => stage.1.clone(),
            path => format!("{}.{}", calls(tree, path), stage.1),
        });
        self.rewrite_uris(project, api);
        self.add_contract(project, bucket, api, stage, own.as_deref());
    }

    /// The stage's scope, and its address there. `None` if the patch cannot make one.
    fn stage(
        &mut self,
        project: Project<'_, '_>,
        api: &Placed<'_>,
        stage: Option<&Placed<'_>>,
        deployment: Option<&Placed<'_>>,
        has_own_variables: bool,
    ) -> Option<(usize, String)> {
        let tree = project.tree;
        let installed =
            [Some(api), stage, deployment].into_iter().flatten().find(|placed| tree.is_installed(placed.0));
        if let Some((scope, found)) = installed {
            self.advice.push(Advice::new(format!(
                "{} is in a module that `terraform init` has downloaded, which the patch cannot change: its stage \
                 has to ignore changes of {}",
                tree.address(*scope, found),
                stage::POINTER.join(", ")
            )));
            return stage.map(|(scope, found)| (*scope, found.address()));
        }
        let existing = stage.map(|(scope, found)| (*scope, self.existing_stage(found, has_own_variables)));
        match deployment {
            Some(placed) if stage::creates_stage(&placed.1) => {
                return self.stage_of_deployment(project, placed, existing);
            }
            Some((_, found)) => stage::bootstrap(found, &mut self.edits, &mut self.advice),
            None => {}
        }
        existing.or_else(|| self.add_stage(project, api, deployment))
    }

    /// Lets releases move a stage, and returns its address. Its own variables move into the contract.
    fn existing_stage(&mut self, stage: &Found<'_>, has_own_variables: bool) -> String {
        if let Some(variables) = stage.block.body.get_attribute("variables").filter(|_| has_own_variables) {
            self.edits.remove(stage.file, variables);
        }
        stage::release_pointer(stage, &mut self.edits);
        match stage.repeat() {
            Repeat::Once => stage.address(),
            Repeat::Count => format!("{}[0]", stage.address()),
            Repeat::ForEach => format!("{}[\"STAGE\"]", stage.address()),
        }
    }

    /// The deployment created the stage: it is kept, and the stage becomes a resource that is imported.
    fn stage_of_deployment(
        &mut self,
        project: Project<'_, '_>,
        (scope, deployment): &Placed<'_>,
        stage: Option<(usize, String)>,
    ) -> Option<(usize, String)> {
        let tree = project.tree;
        let address = tree.address(*scope, deployment);
        let is_elsewhere = stage.as_ref().is_some_and(|(at, _)| at != scope);
        if deployment.repeat() != Repeat::Once || tree.is_repeated(*scope) || is_elsewhere {
            self.advice.push(Advice::new(format!(
                "{address} creates a stage, has several instances or is not in the module of the stage's resource; \
                 AWS deletes a stage with the deployment that created it, so the patch does not change it: take the \
                 deployment out of the state with a `removed` block"
            )));
            return stage;
        }
        let module = tree.module(*scope);
        let existing = stage.as_ref().filter(|(at, _)| at == scope).map(|(_, address)| address.as_str());
        let replaced = stage::replace_deployment(module, deployment, existing, &mut self.edits)?;
        self.module_block(module, replaced.blocks);
        if stage.is_some() {
            self.advice.push(Advice::new(format!(
                "{address} creates a stage of its own, beside the one that is a resource; the patch takes it out of \
                 Terraform's hands, and the stage stays as it is"
            )));
            return stage;
        }
        let own = "aws_api_gateway_stage.deployctl".to_owned();
        let path = tree.path(*scope);
        let mut id = format!("\"${{{}}}/{}\"", replaced.api, unquoted(&replaced.name));
        if !path.is_empty() {
            let description = "Identifier of the stage, to import it.";
            self.pass_up(tree, &path, "deployctl_stage_id", description, &id);
            id = format!("{}.deployctl_stage_id", first_call(tree, &path));
        }
        let to = if path.is_empty() { own.clone() } else { format!("{}.{own}", calls(tree, &path)) };
        let import = contract::filled(include_str!("templates/import.tf.in"), &[("TO", &to), ("ID", &id)]);
        self.additions(&project.root().dir).blocks.push(import);
        self.imports = true;
        self.advice.push(
            Advice::new(format!(
                "{address} has created the stage, and would delete it with itself; the patch takes it out of \
                 Terraform's hands and makes the stage a resource (Terraform 1.7 or later). For a stage that exists, \
                 set adopt_stage, so that it is imported"
            ))
            .write("[stages.NAME.variables]\nadopt_stage = true")
            .about(AdviceKind::AdoptStage),
        );
        Some((*scope, own))
    }

    /// Adds a stage and returns its scope and address.
    fn add_stage(
        &mut self,
        project: Project<'_, '_>,
        (scope, api): &Placed<'_>,
        deployment: Option<&Placed<'_>>,
    ) -> Option<(usize, String)> {
        let tree = project.tree;
        if *scope > 0 {
            self.advice.push(Advice::new(format!(
                "{} has no stage; create an aws_api_gateway_stage in its module, with ignore_changes = [{}]",
                tree.address(*scope, api),
                stage::POINTER.join(", ")
            )));
            return None;
        }
        let mut block = String::new();
        let deployment = match deployment.filter(|(at, _)| at == scope) {
            Some((_, found)) => found.address(),
            None => {
                let integrations =
                    tree.resources("aws_api_gateway_integration").map(|(at, found)| {
                        match tree.path(at).as_slice() {
                            [] => found.address(),
                            path => first_call(tree, path),
                        }
                    });
                let integrations: BTreeSet<String> = integrations.collect();
                block.push_str(&stage::deployment(
                    &api.address(),
                    &integrations.into_iter().collect::<Vec<_>>(),
                ));
                "aws_api_gateway_deployment.deployctl".to_owned()
            }
        };
        block.push_str(&stage::new(&api.address(), &deployment));
        let additions = self.additions(&project.root().dir);
        additions.variables.insert("stage");
        additions.blocks.push(block);
        Some((0, "aws_api_gateway_stage.deployctl".to_owned()))
    }

    fn rewrite_uris(&mut self, project: Project<'_, '_>, api: &Placed<'_>) {
        let resolver = Resolver { tree: project.tree, functions: project.functions };
        let (mut needs, mut found) = (BTreeSet::new(), Vec::new());
        let mut output =
            Output { edits: &mut self.edits, advice: &mut self.advice, needs: &mut needs, found: &mut found };
        uris::rewrite(resolver, &mut output);
        openapi::rewrite(resolver, api, &mut output);
        for call in found {
            let is_authorizer = call.address.contains("aws_api_gateway_authorizer.");
            let list = if is_authorizer { &mut self.found.authorizers } else { &mut self.found.integrations };
            if !list.iter().any(|known| known.address == call.address) {
                list.push(call);
            }
        }
        self.pass_down(project, &needs);
    }

    /// Passes the role and the beginning of keys to the modules that need them.
    fn pass_down(&mut self, project: Project<'_, '_>, needs: &BTreeSet<usize>) {
        let tree = project.tree;
        let scopes: BTreeSet<usize> = needs.iter().flat_map(|scope| tree.path(*scope)).collect();
        for scope in scopes {
            let Some((parent, call)) = tree.parent(scope) else { continue };
            let module = tree.module(scope);
            if !module.declares("deployctl") {
                self.module_block(module, contract::MODULE_VARIABLE.to_owned());
            }
            if call.attribute("deployctl").is_some() {
                continue;
            }
            let depth = tree.path(parent).len();
            let below = project.functions.iter().find(|function| tree.path(function.scope).contains(&scope));
            let key = below.map(|function| function.prefix(depth)).unwrap_or_default();
            let value = if parent == 0 {
                format!("{{ key = \"{key}\", role = {ROLE} }}")
            } else {
                format!("var.deployctl == null ? null : {{ key = \"{key}\", role = var.deployctl.role }}")
            };
            self.edits.append(call.file, call.block, &[format!("deployctl = {value}")], true);
        }
    }

    fn add_contract(
        &mut self,
        project: Project<'_, '_>,
        bucket: &BucketPlace,
        api: &Placed<'_>,
        stage: Option<(usize, String)>,
        own: Option<&str>,
    ) {
        let (tree, root) = (project.tree, project.root());
        if has_output(root) {
            if let Some(own) = own {
                let what =
                    "the stage sets variables: they belong to the output `deployctl`, which has to set them";
                self.advice.push(Advice::new(what.to_owned()).write(format!("variables = {own}")));
            }
            return;
        }
        let place = stage.as_ref().map(|(scope, address)| self.place(tree, api, (*scope, address), own));
        let own = match (&stage, &place) {
            (Some((scope, _)), Some(place)) if *scope > 0 => {
                own.map(|_| format!("{}.variables", place.stage))
            }
            _ => own.map(ToOwned::to_owned),
        };
        let is_single = stage.as_ref().is_some_and(|(scope, address)| {
            api.1.repeat() == Repeat::Once && !address.contains("STAGE") && !tree.is_repeated(*scope)
        });
        let output = place.map(|place| contract::output(&bucket.expression, &place, own.as_deref()));
        let functions = project.functions;
        if is_single {
            self.additions(&root.dir).blocks.extend(contract::contract(functions, output));
        } else {
            let advice = Advice::new(format!(
                "{} or its stage has several instances, or none: name the released one in the output",
                tree.address(api.0, &api.1)
            ));
            let output = output.unwrap_or_else(|| {
                let place = ApiPlace { api_id: "API.id".to_owned(), stage: "STAGE".to_owned() };
                contract::output(&bucket.expression, &place, own.as_deref())
            });
            self.advice.push(advice.write(output));
            self.additions(&root.dir).blocks.extend(contract::contract(functions, None));
        }
        self.additions(&root.dir).variables.insert("region");
        if bucket.expression.contains("var.stage") {
            self.additions(&root.dir).variables.insert("stage");
        }
    }

    /// The layer's expressions for the API and the stage; outputs of modules lead there.
    fn place(
        &mut self,
        tree: &Tree<'_>,
        api: &Placed<'_>,
        (scope, address): (usize, &str),
        own: Option<&str>,
    ) -> ApiPlace {
        if scope == 0 {
            let api_id = match api.0 {
                0 => format!("{}.id", api.1.address()),
                _ => format!("{address}.rest_api_id"),
            };
            return ApiPlace { api_id, stage: address.to_owned() };
        }
        let path = tree.path(scope);
        let variables = own.map(|own| format!("\n    variables   = {own}")).unwrap_or_default();
        let value = format!(
            "{{\n    rest_api_id = {address}.rest_api_id\n    stage_name  = {address}.stage_name\n    invoke_url  = \
             {address}.invoke_url{variables}\n  }}"
        );
        self.pass_up(tree, &path, STAGE_OUTPUT, "The API and its stage, for deployctl.", &value);
        let stage = format!("{}.{STAGE_OUTPUT}", first_call(tree, &path));
        ApiPlace { api_id: format!("{stage}.rest_api_id"), stage }
    }

    /// Adds an output to each module of a path, so that the layer gets a value of the last one.
    fn pass_up(&mut self, tree: &Tree<'_>, path: &[usize], name: &str, description: &str, value: &str) {
        for (at, scope) in path.iter().enumerate() {
            let value = match path.get(at + 1).and_then(|child| tree.parent(*child)) {
                Some((_, call)) => format!("{}.{name}", call.address()),
                None => value.to_owned(),
            };
            if !uris::has_output(tree.module(*scope), name) {
                let output = contract::module_output(name, description, &value);
                self.module_block(tree.module(*scope), output);
            }
        }
    }

    fn no_api(&mut self, layer: &str) {
        let place = ApiPlace {
            api_id: "aws_api_gateway_rest_api.NAME.id".to_owned(),
            stage: "aws_api_gateway_stage.NAME".to_owned(),
        };
        self.advice.push(
            Advice::new(format!(
                "layer {layer} has no aws_api_gateway_rest_api: deployctl releases functions behind a REST API, by \
                 one call to its stage"
            ))
            .write(contract::output("BUCKET", &place, None)),
        );
    }
}

/// The API that the first stage belongs to, if the stage names it in its own module.
fn named_api<'p, 'a>(apis: &'p [Placed<'a>], stages: &[Placed<'a>]) -> Option<&'p Placed<'a>> {
    let (scope, stage) = stages.first()?;
    match steps(stage.attribute("rest_api_id")?)?.get(1) {
        Some(Step::Attribute(name)) => apis.iter().find(|(at, api)| at == scope && api.name == *name),
        _ => None,
    }
}

/// The content of a string, or an interpolation of another expression.
fn unquoted(text: &str) -> String {
    match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.to_owned(),
        None => format!("${{{text}}}"),
    }
}

/// `module.a.module.b`
fn calls(tree: &Tree<'_>, path: &[usize]) -> String {
    let calls = path.iter().filter_map(|scope| Some(tree.parent(*scope)?.1.address()));
    calls.collect::<Vec<_>>().join(".")
}

/// `module.a`
fn first_call(tree: &Tree<'_>, path: &[usize]) -> String {
    calls(tree, path.get(..1).unwrap_or_default())
}
