// A function and a route for each of FUNCTIONS.
const functions = {};
for (const [key] of process.env.FUNCTIONS.split(" ").map((each) => each.split("="))) {
  functions[key] = { handler: "bootstrap", events: [{ http: { path: key, method: "post" } }] };
}

module.exports = {
  service: "peers",
  provider: {
    name: "aws",
    runtime: "provided.al2023",
    region: process.env.AWS_REGION,
    deploymentBucket: { name: process.env.STACK_BUCKET },
  },
  package: { artifact: "code.zip" },
  functions,
};
