// The error of an answer, wherever in it the error stands.
#pragma once

namespace quorate::v1 {
class Error;
class NodeResponse;
}  // namespace quorate::v1

namespace quorate::client {

// The envelope's own, or else its body's.
const v1::Error& ErrorOf(const v1::NodeResponse& response);
v1::Error* MutableErrorOf(v1::NodeResponse* response);

}  // namespace quorate::client
