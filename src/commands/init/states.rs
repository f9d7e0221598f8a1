//! Where layers keep their states, and how they read those of other layers.

use super::contract;
use super::rewrite::Work;
use super::survey::{Backend, Layer, Survey};
use crate::documents::init::Advice;

impl Work {
    /// Changes every layer to keep its state in S3.
    pub(crate) fn backends(&mut self, survey: &Survey) {
        for layer in &survey.layers {
            let key = format!("PROJECT/STAGE/{}.tfstate", layer.name);
            match &layer.backend {
                Backend::S3 { bucket, key: old } => {
                    if bucket.is_some() || old.is_some() {
                        let from = format!(
                            "s3://{}/{}",
                            bucket.as_deref().unwrap_or("BUCKET"),
                            old.as_deref().unwrap_or("KEY")
                        );
                        self.advice.push(
                            Advice::new(format!(
                                "layer {}: its state is {from}; deployctl uses a key for each stage. If \
                                 the state exists, copy it before the first release",
                                layer.name
                            ))
                            .write(format!("aws s3 cp {from} s3://STATE_BUCKET/{key}")),
                        );
                    }
                }
                Backend::Local => self.local_backend(layer, &key),
                Backend::Other(kind) => self.advice.push(
                    Advice::new(format!(
                        "layer {}: its backend is {kind:?}; deployctl needs the S3 backend",
                        layer.name
                    ))
                    .write("terraform {\n  backend \"s3\" {}\n}"),
                ),
            }
        }
    }

    fn local_backend(&mut self, layer: &Layer, key: &str) {
        let written = layer
            .module
            .blocks("terraform")
            .find_map(|(file, block)| Some((file, block.body.get_blocks("backend").next()?)));
        if let Some((_, backend)) = written {
            let label = backend.labels.first().map_or("local", |label| label.as_str());
            self.advice.push(
                Advice::new(format!("layer {}: replace its backend {label:?} with S3", layer.name))
                    .write("backend \"s3\" {}"),
            );
        } else if let Some((file, block)) = layer.module.blocks("terraform").next() {
            let lines = [
                "# deployctl passes bucket, key and region, so that one code serves every stage.".to_owned(),
                "backend \"s3\" {}".to_owned(),
            ];
            self.edits.append(file, block, &lines, true);
        } else {
            self.additions(&layer.module.dir).backend = true;
        }
        let state = layer.module.dir.join("terraform.tfstate");
        if state.exists() {
            self.advice.push(
                Advice::new(format!(
                    "layer {}: its state is in the source folder; copy it before the first release",
                    layer.name
                ))
                .write(format!(
                    "aws s3 cp {} s3://STATE_BUCKET/{key}",
                    layer.path.join("terraform.tfstate").display()
                )),
            );
        }
    }

    /// Changes `terraform_remote_state` to the S3 objects that deployctl uses.
    pub(crate) fn remote_states(&mut self, survey: &Survey) {
        for layer in &survey.layers {
            for data in layer.module.data("terraform_remote_state") {
                let (Some(other), Some(config)) = (survey.remote(layer, &data), data.attribute("config"))
                else {
                    continue;
                };
                if data.file.text_of(config).contains("var.state_prefix") {
                    continue;
                }
                if let Some(backend) = data.attribute("backend") {
                    self.edits.value(data.file, backend, "\"s3\"");
                }
                self.edits.value(data.file, config, contract::state_config(&other.name));
                self.additions(&layer.module.dir).variables.extend([
                    "state_bucket",
                    "state_prefix",
                    "region",
                ]);
            }
        }
    }
}
