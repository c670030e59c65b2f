import ts from "typescript6";

export default ts;
