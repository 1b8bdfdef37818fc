"""The operations that graphs of text encoders, preprocessors and exports may have: none reaches out of the process.

They compute, look up, split texts and control the flow. What reads or writes files is in the two sets at the end, which
`tfhub_ft.utils.saved_graph` allows where the file is the model's own.
"""

_FLOW = """
Assert Case Const ControlTrigger EnsureShape Enter Exit FakeParam For Identity IdentityN If LoopCond Merge NextIteration
NoOp PartitionedCall Placeholder PlaceholderV2 PlaceholderWithDefault PreventGradient Snapshot StatefulPartitionedCall
StatelessCase StatelessIf StatelessWhile StopGradient Switch ToBool While
"""
_STATE = """
AnonymousHashTable AnonymousMutableHashTable AnonymousMutableHashTableOfTensors AssignAddVariableOp AssignSubVariableOp
AssignVariableOp DestroyResourceOp DisableCopyOnRead HashTableV2 InitializeTableV2 LookupTableExportV2 LookupTableFindV2
LookupTableImportV2 LookupTableInsertV2 LookupTableRemoveV2 LookupTableSizeV2 MutableHashTableOfTensorsV2
MutableHashTableV2 ReadVariableOp ResourceGather ResourceGatherNd ResourceScatterAdd ResourceScatterMax
ResourceScatterMin ResourceScatterMul ResourceScatterNdAdd ResourceScatterNdSub ResourceScatterNdUpdate
ResourceScatterSub ResourceScatterUpdate ResourceStridedSliceAssign VarHandleOp VarIsInitializedOp VariableShape
"""
_TEXT = """
AsString CaseFoldUTF8 ConstrainedSequence DecodeBase64 DecodeRaw EncodeBase64 FastBertNormalize
FastWordpieceTokenizeWithOffsets FindSourceOffsets NormalizeUTF8 NormalizeUTF8WithOffsetsMap PhraseTokenize ReduceJoin
RegexFullMatch RegexReplace RegexSplitWithOffsets SentenceFragments SentenceFragmentsV2 SentencepieceDetokenizeOp
SentencepieceIdToStringOp SentencepieceOp SentencepieceStringToIdOp SentencepieceTokenizeOp
SentencepieceTokenizeWithOffsetsOp SentencepieceVocabSizeOp ShardedFilename SplitMergeTokenizeWithOffsets
StaticRegexFullMatch StaticRegexReplace StringFormat StringJoin StringLength StringLower StringNGrams StringSplit
StringSplitV2 StringStrip StringToHashBucket StringToHashBucketFast StringToHashBucketStrong StringToNumber StringUpper
Substr TFText>BoiseTagsToOffsets TFText>ByteSplitByOffsets TFText>ByteSplitWithOffsets
TFText>FastSentencepieceDetokenize TFText>FastSentencepieceTokenize TFText>FastWordpieceDetokenize
TFText>NgramsStringJoin TFText>OffsetsToBoiseTags TFText>PhraseDetokenize TFText>RoundRobinGenerateMasks
TFText>RoundRobinTrim TFText>Utf8Binarize TFText>WhitespaceTokenizeWithOffsetsV2 TokenizerFromLogits UnicodeDecode
UnicodeDecodeWithOffsets UnicodeEncode UnicodeScript UnicodeScriptTokenizeWithOffsets UnicodeTranscode
UnsortedSegmentJoin WhitespaceTokenizeWithOffsets WordpieceTokenizeWithOffsets
"""
_RAGGED_SPARSE_AND_LISTS = """
DynamicPartition DynamicStitch EmptyTensorList ParallelDynamicStitch RaggedBincount RaggedCross RaggedFillEmptyRows
RaggedFillEmptyRowsGrad RaggedGather RaggedRange RaggedTensorFromVariant RaggedTensorToSparse RaggedTensorToTensor
RaggedTensorToVariant RaggedTensorToVariantGradient SparseAdd SparseAddGrad SparseBincount SparseConcat SparseCross
SparseCrossHashed SparseCrossV2 SparseDenseCwiseAdd SparseDenseCwiseDiv SparseDenseCwiseMul SparseFillEmptyRows
SparseFillEmptyRowsGrad SparseReduceMax SparseReduceSum SparseReorder SparseReshape SparseSegmentMean
SparseSegmentMeanGrad SparseSegmentMeanWithNumSegments SparseSegmentSqrtN SparseSegmentSqrtNGrad
SparseSegmentSqrtNWithNumSegments SparseSegmentSum SparseSegmentSumGrad SparseSegmentSumWithNumSegments SparseSlice
SparseSoftmax SparseSplit SparseTensorDenseAdd SparseTensorDenseMatMul SparseToDense TensorListConcat
TensorListConcatLists TensorListConcatV2 TensorListElementShape TensorListFromTensor TensorListGather TensorListGetItem
TensorListLength TensorListPopBack TensorListPushBack TensorListPushBackBatch TensorListReserve TensorListResize
TensorListScatter TensorListScatterIntoExistingList TensorListScatterV2 TensorListSetItem TensorListSplit
TensorListStack
"""
_ARRAYS = """
BatchToSpace BatchToSpaceND Bitcast BroadcastArgs BroadcastGradientArgs BroadcastTo CheckNumerics CheckNumericsV2 Concat
ConcatOffset ConcatV2 ConjugateTranspose DeepCopy DepthToSpace Diag DiagPart EditDistance Empty ExpandDims Fill
Fingerprint Gather GatherNd GatherV2 InplaceAdd InplaceSub InplaceUpdate InvertPermutation ListDiff LowerBound
MatrixBandPart MatrixDiag MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3 MatrixSetDiag
MatrixSetDiagV2 MatrixSetDiagV3 MirrorPad MirrorPadGrad OneHot OnesLike Pack Pad PadV2 ParallelConcat Rank Reshape
Reverse ReverseSequence ReverseV2 Roll ScatterNd ScatterNdNonAliasingAdd Shape ShapeN Size Slice SpaceToBatch
SpaceToBatchND SpaceToDepth Split SplitV Squeeze StridedSlice StridedSliceGrad TensorScatterAdd TensorScatterMax
TensorScatterMin TensorScatterSub TensorScatterUpdate TensorStridedSliceUpdate Tile TileGrad Transpose Unique UniqueV2
UniqueWithCounts UniqueWithCountsV2 Unpack UnravelIndex UpperBound Where ZerosLike
"""
_MATHEMATICS = """
Abs AccumulateNV2 Acos Acosh Add AddN AddV2 All Angle Any ApproximateEqual ArgMax ArgMin Asin Asinh Atan Atan2 Atanh
BatchMatMul BatchMatMulV2 BatchMatMulV3 Betainc Bincount BitwiseAnd BitwiseOr BitwiseXor Bucketize Cast Ceil Cholesky
CholeskyGrad ClipByValue Complex ComplexAbs Conj Cos Cosh Cross Cumprod Cumsum CumulativeLogsumexp DenseBincount Digamma
Div DivNoNan Einsum Equal Erf Erfc Erfinv EuclideanNorm Exp Expm1 FFT FFT2D Floor FloorDiv FloorMod Greater GreaterEqual
HistogramFixedWidth IFFT IFFT2D IRFFT Igamma Igammac Imag Inv InvGrad Invert IsFinite IsInf IsNan LeftShift Less
LessEqual Lgamma LinSpace Log Log1p LogMatrixDeterminant LogicalAnd LogicalNot LogicalOr MatMul MatrixDeterminant
MatrixInverse MatrixSolve MatrixTriangularSolve Max Maximum Mean Min Minimum Mod Mul MulNoNan Ndtri Neg NextAfter
NotEqual PopulationCount Pow Prod Qr RFFT Range Real RealDiv Reciprocal ReciprocalGrad RightShift Rint Round Rsqrt
RsqrtGrad SegmentMax SegmentMean SegmentMin SegmentProd SegmentSum Select SelectV2 Sigmoid SigmoidGrad Sign Sin Sinh
Sqrt SqrtGrad Square SquaredDifference Sub Sum Svd Tan Tanh TanhGrad TruncateDiv TruncateMod UnsortedSegmentMax
UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum Xdivy Xlog1py Xlogy Zeta
"""
_LAYERS = """
ApproxTopK AvgPool AvgPoolGrad BiasAdd BiasAddGrad BiasAddV1 Conv Conv2D Conv2DBackpropFilter Conv2DBackpropInput
CudnnRNNBackpropV3 CudnnRNNV3 DepthwiseConv2dNative DepthwiseConv2dNativeBackpropFilter
DepthwiseConv2dNativeBackpropInput Dequantize Elu EluGrad FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars
FakeQuantWithMinMaxVarsPerChannel FusedBatchNormGradV3 FusedBatchNormV3 InTopK InTopKV2 L2Loss LeakyRelu LeakyReluGrad
LogSoftmax MaxPool MaxPoolGrad MaxPoolV2 NthElement QuantizeAndDequantizeV2 QuantizeAndDequantizeV3
QuantizeAndDequantizeV4 QuantizeV2 Relu Relu6 Relu6Grad ReluGrad Selu SeluGrad Softmax SoftmaxCrossEntropyWithLogits
Softplus SoftplusGrad Softsign SoftsignGrad SparseSoftmaxCrossEntropyWithLogits TopK TopKV2
"""
_RANDOM = """
Multinomial ParameterizedTruncatedNormal RandomGamma RandomPoissonV2 RandomShuffle RandomStandardNormal RandomUniform
RandomUniformInt RngReadAndSkip RngSkip StatefulStandardNormalV2 StatefulTruncatedNormal StatefulUniform
StatefulUniformFullInt StatefulUniformInt StatelessMultinomial StatelessRandomGetAlg StatelessRandomGetKeyCounter
StatelessRandomGetKeyCounterAlg StatelessRandomNormal StatelessRandomNormalV2 StatelessRandomUniform
StatelessRandomUniformFullInt StatelessRandomUniformFullIntV2 StatelessRandomUniformInt StatelessRandomUniformIntV2
StatelessRandomUniformV2 StatelessShuffle StatelessTruncatedNormal StatelessTruncatedNormalV2 TruncatedNormal
"""

ALLOWED = frozenset(
    " ".join(
        (_FLOW, _STATE, _TEXT, _RAGGED_SPARSE_AND_LISTS, _ARRAYS, _MATHEMATICS, _LAYERS, _RANDOM),
    ).split()
)
# The input that names the file, by operation.
READS_ASSETS = {"InitializeTableFromTextFileV2": (1,), "ReadFile": (0,)}
CHECKPOINTS = {"RestoreV2": (0,), "SaveV2": (0,), "MergeV2Checkpoints": (0, 1)}
